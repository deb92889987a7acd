//! Enrolment against a model: a few machines, two tokens, and everything they and an operator may do in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The rows agree with a model that keeps no rows.
    #[test]
    fn enrolment_behaves_like_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::new();
        for step in steps {
            let expected = run.model.take(step);
            let found = run.take(step);
            prop_assert_eq!(found, expected, "{:?}", step);
        }
        run.compare();
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Join { machine: usize, token: usize },
    Approve { machine: usize, token: usize },
    Reject { machine: usize, token: usize },
    Withdraw { machine: usize, token: usize },
    Status { machine: usize, token: usize },
    RevokeNode { machine: usize, token: usize },
    RevokeToken { token: usize },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..MACHINES, 0..TOKENS);
    prop_oneof![
        6 => pair().prop_map(|(machine, token)| Step::Join { machine, token }),
        3 => pair().prop_map(|(machine, token)| Step::Approve { machine, token }),
        1 => pair().prop_map(|(machine, token)| Step::Reject { machine, token }),
        1 => pair().prop_map(|(machine, token)| Step::Withdraw { machine, token }),
        3 => pair().prop_map(|(machine, token)| Step::Status { machine, token }),
        1 => pair().prop_map(|(machine, token)| Step::RevokeNode { machine, token }),
        1 => (0..TOKENS).prop_map(|token| Step::RevokeToken { token }),
        1 => Just(Step::Wait),
    ]
}

/// What a step comes to: a word for success, or the code of the refusal.
type Outcome = Result<&'static str, Code>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Pending,
    Approved,
    Rejected,
    Withdrawn,
    Revoked,
}

#[derive(Default)]
struct Model {
    hours: u64,
    used: [u32; TOKENS],
    revoked: [bool; TOKENS],
    requests: BTreeMap<(usize, usize), Standing>,
}

impl Model {
    fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::Join { machine, token } => self.join(machine, token),
            Step::Approve { machine, token } => self.decide((machine, token), Standing::Approved),
            Step::Reject { machine, token } => self.decide((machine, token), Standing::Rejected),
            Step::Withdraw { machine, token } => match self.requests.get(&(machine, token)) {
                None => Err(Code::SignatureInvalid),
                Some(Standing::Pending | Standing::Withdrawn) => {
                    self.requests.insert((machine, token), Standing::Withdrawn);
                    Ok("withdrawn")
                }
                Some(Standing::Approved | Standing::Rejected | Standing::Revoked) => {
                    Err(Code::AlreadyDecided)
                }
            },
            Step::Status { machine, token } => match self.requests.get(&(machine, token)) {
                None => Err(Code::SignatureInvalid),
                Some(standing) => told(*standing),
            },
            Step::RevokeNode { machine, token } => match self.requests.get_mut(&(machine, token)) {
                Some(standing @ (Standing::Approved | Standing::Revoked)) => {
                    *standing = Standing::Revoked;
                    Ok("revoked")
                }
                Some(Standing::Pending | Standing::Rejected | Standing::Withdrawn) | None => {
                    Err(Code::NotFound)
                }
            },
            Step::RevokeToken { token } => {
                self.revoked[token] = true;
                Ok("revoked")
            }
            Step::Wait => {
                self.hours += 1;
                Ok("waited")
            }
        }
    }

    fn join(&mut self, machine: usize, token: usize) -> Outcome {
        if let Some(standing) = self.requests.get(&(machine, token)) {
            return told(*standing);
        }
        if self.revoked[token] {
            return Err(Code::TokenExpired);
        }
        if self.used[token] >= USES {
            return Err(Code::TokenConsumed);
        }
        if self.hours >= LIFE_HOURS {
            return Err(Code::TokenExpired);
        }
        let holds = |standing: &Standing| matches!(standing, Standing::Pending | Standing::Approved);
        if self
            .requests
            .iter()
            .any(|((other, _), standing)| name_of(*other) == name_of(machine) && holds(standing))
        {
            return Err(Code::NameTaken);
        }
        self.used[token] += 1;
        let standing = match token {
            AUTO => Standing::Approved,
            _ => Standing::Pending,
        };
        self.requests.insert((machine, token), standing);

        told(standing)
    }

    fn decide(&mut self, request: (usize, usize), to: Standing) -> Outcome {
        let standing = self.requests.get_mut(&request).ok_or(Code::NotFound)?;
        match (*standing, to) {
            (Standing::Pending, _) => *standing = to,
            (Standing::Approved | Standing::Revoked, Standing::Approved)
            | (Standing::Rejected, Standing::Rejected) => {}
            _ => return Err(Code::AlreadyDecided),
        }

        Ok("decided")
    }
}

fn told(standing: Standing) -> Outcome {
    match standing {
        Standing::Pending => Ok("pending"),
        Standing::Approved => Ok("approved"),
        Standing::Rejected => Ok("rejected"),
        Standing::Withdrawn => Ok("withdrawn"),
        Standing::Revoked => Err(Code::NodeRevoked),
    }
}

fn word(reply: &JoinReply) -> &'static str {
    match reply {
        JoinReply::Pending { .. } => "pending",
        JoinReply::Rejected(_) => "rejected",
        JoinReply::Approved(_) => "approved",
        JoinReply::Renewed(_) => "renewed",
        JoinReply::Withdrawn => "withdrawn",
    }
}

struct Run {
    world: World,
    cluster: ClusterId,
    machines: Vec<Joiner>,
    tokens: Vec<CreatedToken>,
    requests: BTreeMap<(usize, usize), RequestId>,
    /// The bytes that each request was given as its contract.
    contracts: BTreeMap<(usize, usize), Vec<u8>>,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let (mut world, cluster) = World::with_cluster(1);
        let new = |approval| NewToken {
            max_uses: USES,
            life: Duration::from_secs(LIFE_HOURS * 3600),
            approval,
            ..NewToken::default()
        };
        let tokens = [ApprovalMode::Manual, ApprovalMode::Auto]
            .map(|approval| with_new_token(&mut world, cluster, new(approval)))
            .into();
        let machines = (0..MACHINES)
            .map(|machine| Joiner::new(&mut world, cluster, name_of(machine)))
            .collect();

        Self {
            world,
            cluster,
            machines,
            tokens,
            requests: BTreeMap::new(),
            contracts: BTreeMap::new(),
            model: Model::default(),
        }
    }

    fn take(&mut self, step: Step) -> Outcome {
        let cluster = self.cluster;
        match step {
            Step::Join { machine, token } => {
                let enrolled = join(&mut self.world, &self.machines[machine], &self.tokens[token])
                    .map_err(|error| error.code())?;
                let known = self.requests.insert((machine, token), enrolled.request);
                assert_eq!(known.is_none(), enrolled.created);
                assert!(known.is_none_or(|known| known == enrolled.request));
                Ok(self.heard((machine, token), &enrolled.reply))
            }
            Step::Approve { machine, token } => {
                let request = self.request(machine, token);
                approve_in(&mut self.world, cluster, request).map_err(|error| error.code())?;
                Ok("decided")
            }
            Step::Reject { machine, token } => {
                let request = self.request(machine, token);
                self.world
                    .desk(Actor::Local, |desk| reject(desk, cluster, request, ""))
                    .map_err(|error| error.code())?;
                Ok("decided")
            }
            Step::Withdraw { machine, token } => {
                let question = self.machines[machine].question(self.request(machine, token));
                let caller = self.machines[machine].caller;
                self.world
                    .desk(Actor::Joiner, |desk| withdraw(desk, &caller, &question))
                    .map(|reply| word(&reply))
                    .map_err(|error| error.code())
            }
            Step::Status { machine, token } => {
                let request = self.request(machine, token);
                let reply =
                    ask(&self.world, &self.machines[machine], request).map_err(|error| error.code())?;
                Ok(self.heard((machine, token), &reply))
            }
            Step::RevokeNode { machine, token } => self.revoke_node(machine, token),
            Step::RevokeToken { token } => {
                let id = self.tokens[token].row.id;
                self.world
                    .desk(Actor::Local, |desk| token::revoke(desk, cluster, id))
                    .map_err(|error| error.code())?;
                Ok("revoked")
            }
            Step::Wait => {
                self.world.pass(Duration::from_secs(3600));
                Ok("waited")
            }
        }
    }

    fn revoke_node(&mut self, machine: usize, token: usize) -> Outcome {
        let cluster = self.cluster;
        let request = self.request(machine, token);
        let row = get(&self.world.tx, cluster, request).map_err(|error| error.code())?;
        let id = row.and_then(|row| row.node).ok_or(Code::NotFound)?;
        self.world
            .desk(Actor::Local, |desk| node::revoke(desk, cluster, id, ""))
            .map_err(|error| error.code())?;

        Ok("revoked")
    }

    fn request(&self, machine: usize, token: usize) -> RequestId {
        let unknown = RequestId::from_bytes([0xEE; 16]);

        self.requests.get(&(machine, token)).copied().unwrap_or(unknown)
    }

    /// A contract never changes from one answer to the next.
    fn heard(&mut self, of: (usize, usize), reply: &JoinReply) -> &'static str {
        if let JoinReply::Approved(contract) = reply {
            let first = self.contracts.entry(of).or_insert_with(|| contract.to_vec());
            assert_eq!(first.as_slice(), contract.as_slice());
        }

        word(reply)
    }

    fn compare(&self) {
        for (token, used_by_model) in self.model.used.iter().enumerate() {
            assert_eq!(used(&self.world, &self.tokens[token]), *used_by_model);
        }
        let requests = list(&self.world.tx, self.cluster).unwrap();
        assert_eq!(requests.len(), self.model.requests.len());
        let consumed: u32 = self.model.used.iter().sum();
        assert_eq!(actions(&self.world, Action::TOKEN_CONSUMED), consumed as usize);
        let living: Vec<String> = node::list(&self.world.tx, self.cluster)
            .unwrap()
            .iter()
            .filter(|node| node.state() != NodeState::Revoked)
            .map(|node| node.name.to_string())
            .collect();
        let unique: BTreeSet<&String> = living.iter().collect();
        assert_eq!(unique.len(), living.len(), "two nodes of one name");
        let listed = node::revocation_list(&self.world.tx, self.cluster).unwrap();
        let revoked = self
            .model
            .requests
            .values()
            .filter(|it| **it == Standing::Revoked);
        assert_eq!(listed.nodes.len(), revoked.count());
        assert!(audit::verify(&self.world.tx, None).is_ok());
    }
}

/// Two machines share a name.
fn name_of(machine: usize) -> &'static str {
    ["web-1", "web-2", "web-3", "web-1"][machine]
}

const MACHINES: usize = 4;
const TOKENS: usize = 2;
const AUTO: usize = 1;
const USES: u32 = 2;
const LIFE_HOURS: u64 = 5;

use std::collections::BTreeSet;

use proptest::prelude::*;
use protocol::document::config::{ControllerAddress, Transport};
use protocol::envelope::{Stamp, seal};
use protocol::id::ControllerId;
use protocol::key::SigningKey;
use protocol::node::Labels;
use protocol::time::Wall;

use super::*;

#[test]
fn settings_are_confirmed_by_one_poll_where_they_say() {
    let mut trial = Trialled::new();
    trial.config(1);
    assert!(
        !trial.poll("elsewhere"),
        "a poll at another address proves nothing"
    );
    assert!(trial.poll("1"));

    assert_eq!(trial.confirm.standing(), None);
    assert_eq!(trial.confirm.poll_timeout(), None);
}

#[test]
fn a_poll_that_was_sent_before_the_settings_came_into_force_proves_nothing() {
    let mut trial = Trialled::new();
    trial.config(1);

    assert!(!trial.confirm.handle_poll(Boot(NOW.0 - 1), true));
    assert!(trial.confirm.handle_poll(NOW, true));
}

#[test]
fn after_half_of_the_time_they_are_tried_again_and_after_all_of_it_gone_back_from() {
    let mut trial = Trialled::new();
    trial.config(1);
    assert_eq!(trial.wait(29_999), None);
    assert_eq!(trial.wait(1), Some(Step::DialAgain));
    assert_eq!(trial.wait(29_999), None);
    assert_eq!(trial.wait(1), Some(Step::Revert));

    let standing = trial.confirm.standing();
    let (tried, confirmed) = (trial.version, trial.version - 1);
    assert_eq!(standing, Some(Unconfirmed::Reverted { tried, confirmed }));
    assert_eq!(trial.in_force().settings(), settings(0));
    assert_eq!(trial.wait(3_600_000), None);
}

#[test]
fn a_config_with_the_same_settings_neither_begins_a_trial_nor_puts_off_its_end() {
    let mut trial = Trialled::new();
    trial.config(0);
    assert_eq!(trial.confirm.poll_timeout(), None);

    trial.config(1);
    trial.wait(30_000);
    trial.config(1);
    assert_eq!(trial.wait(29_999), None);
    trial.config(1);
    assert_eq!(trial.wait(1), Some(Step::Revert));
    trial.config(1);
    assert_eq!(trial.in_force().settings(), settings(0), "still");
}

#[test]
fn the_confirmed_settings_end_a_reversal_and_others_begin_a_trial() {
    let mut trial = Trialled::new();
    trial.config(1);
    trial.wait(60_000);
    trial.config(0);
    assert_eq!(trial.confirm.standing(), None);

    trial.config(1);
    trial.wait(60_000);
    trial.config(2);
    let (tried, confirmed) = (5, 3);
    let standing = trial.confirm.standing();
    assert_eq!(standing, Some(Unconfirmed::Pending { tried, confirmed }));
    assert_eq!(trial.in_force().settings(), settings(2));
}

#[test]
fn a_process_that_stood_still_tries_anew() {
    let mut trial = Trialled::new();
    trial.config(1);

    assert_eq!(trial.wait(65_000), None);
    assert_eq!(trial.wait(30_000), Some(Step::DialAgain));
    assert_eq!(trial.wait(30_000), Some(Step::Revert));
}

#[test]
fn other_transport_is_confirmed_by_a_poll_anywhere() {
    let mut trial = Trialled::new();
    trial.put(&config(&Settings {
        transport: Transport {
            heartbeat: 1,
            ..Transport::default()
        },
        ..settings(0)
    }));

    assert!(trial.poll("elsewhere"));
}

#[test]
fn going_back_lengthens_no_limit() {
    for (earlier, tried) in [(60_000, 10_000), (10_000, 60_000)] {
        let limited = |which, limit| Settings {
            transport: Transport {
                freshness: limit,
                activity: limit,
                ..Transport::default()
            },
            ..settings(which)
        };
        let mut trial = Trialled::new();
        trial.put(&config(&limited(1, earlier)));
        assert!(trial.poll("1"));
        trial.put(&config(&limited(2, tried)));
        assert_eq!(trial.wait(60_000), Some(Step::Revert));

        let in_force = trial.in_force();
        assert_eq!(in_force.controllers, settings(1).controllers);
        let limits = (in_force.transport.freshness, in_force.transport.activity);
        assert_eq!(limits, (10_000, 10_000));
    }
}

#[test]
fn what_this_host_is_configured_with_no_config_can_take_away() {
    let mut trial = Trialled::new();
    trial.config(1);
    let configured = ["elsewhere".to_owned()];

    assert!(
        trial
            .confirm
            .is_proven_at("elsewhere", &configured, &trial.held.opened.body)
    );
}

#[test]
fn a_file_of_another_node_or_beside_an_older_config_says_nothing() {
    let mut trial = Trialled::new();
    let first = trial.held.clone();
    let older = held(1, &config(&settings(5)));
    trial.config(1);
    let read = |confirm: &Confirm, node, in_force: &Held<SyntheticConfig>| {
        let (_, payload) = confirm.file(CLUSTER, node);

        Confirm::read(payload.as_bytes(), &trust(), NODE, Some(in_force)).expect("whole")
    };

    let other = NodeId::from_bytes([8; 16]);
    assert!(read(&trial.confirm, NODE, &trial.held).is_pending());
    assert_eq!(read(&trial.confirm, other, &trial.held).standing(), None);
    assert_eq!(read(&trial.confirm, NODE, &first).standing(), None);
    assert_eq!(
        read(&trial.confirm, NODE, &older).standing(),
        None,
        "nothing newer comes back either"
    );
    assert!(
        Confirm::read(b"gab1", &trust(), NODE, Some(&first)).is_err(),
        "damaged"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_only_settings_ever_come_from_an_earlier_config(
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let mut trial = Trialled::new();
        let mut proven: BTreeSet<u8> = [0].into();
        let (mut which, mut reverted_from) = (0, None);
        for happening in happenings {
            match happening {
                Happening::Config(settings) => {
                    which = settings;
                    trial.config(settings);
                }
                Happening::Poll(at) => {
                    let confirms = trial.poll(&at.to_string());
                    prop_assert!(!confirms || at == which);
                    proven.extend(confirms.then_some(which));
                }
                Happening::Restart => trial.restart(),
                Happening::Wait(millis) => {
                    if trial.wait(millis) == Some(Step::Revert) {
                        reverted_from = Some(which);
                    }
                }
            }
            let in_force = trial.in_force();
            let whole = SyntheticConfig {
                controllers: trial.held.opened.body.controllers.clone(),
                transport: trial.held.opened.body.transport,
                ..in_force.clone()
            };
            prop_assert_eq!(&whole, &trial.held.opened.body, "nothing else goes back");
            if in_force.settings() != settings(which) {
                prop_assert_eq!(Some(which), reverted_from, "nothing goes back without a reversal");
                let is_proven = proven.iter().any(|proven| settings(*proven) == in_force.settings());
                prop_assert!(is_proven, "only to what was confirmed");
            }
            prop_assert_eq!(trial.confirm.report().is_some(), trial.confirm.restored().is_some());
            if let Some(report) = trial.confirm.report() {
                prop_assert_eq!(report.settings, settings(which).digest());
                prop_assert!(report.config.version <= trial.version);
                prop_assert_eq!(report.restored, Some(in_force.settings().digest()));
            }
        }
    }

    #[test]
    fn a_trial_ends_within_a_minute_whatever_else_comes(
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let mut trial = Trialled::new();
        trial.config(1);
        let mut waited = 0;
        for happening in happenings {
            match happening {
                Happening::Config(_) => trial.config(1),
                Happening::Poll(_) => { trial.poll("elsewhere"); }
                Happening::Restart => {}
                Happening::Wait(millis) => {
                    waited += millis.min(4_000);
                    trial.wait(millis.min(4_000));
                }
            }
            prop_assert_eq!(trial.confirm.is_pending(), waited < 60_000);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Config(u8),
    Poll(u8),
    Restart,
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..4_u8).prop_map(Happening::Config),
        2 => (0..4_u8).prop_map(Happening::Poll),
        1 => Just(Happening::Restart),
        4 => (1..70_000_u64).prop_map(Happening::Wait),
    ]
}

#[test]
fn what_an_operator_offers_again_is_tried_once_more_each_time_that_is_said() {
    let mut bench = Trialled::new();
    bench.config(2);
    assert_eq!(bench.wait(30_000), Some(Step::DialAgain));
    assert_eq!(bench.wait(30_000), Some(Step::Revert));
    let offered = |again: Option<u64>| SyntheticConfig {
        offered_again: again,
        ..config(&settings(2))
    };
    for (again, is_tried) in [
        (None, false),
        (Some(4), true),
        (Some(4), false),
        (None, false),
        (Some(5), true),
        (Some(2), true),
    ] {
        bench.put(&offered(again));
        assert_eq!(bench.confirm.is_pending(), is_tried, "{again:?}");
        bench.restart();
        assert_eq!(bench.confirm.is_pending(), is_tried, "{again:?}: after a restart");
        if is_tried {
            assert_eq!(bench.wait(30_000), Some(Step::DialAgain));
            assert_eq!(bench.wait(30_000), Some(Step::Revert));
        }
    }
}

/// A node that has a first config in force, with settings 0.
struct Trialled {
    confirm: Confirm,
    held: Held<SyntheticConfig>,
    version: u64,
    now: Boot,
}

impl Trialled {
    fn new() -> Self {
        let held = held(1, &config(&settings(0)));
        let mut confirm = Confirm::default();
        confirm.handle_config(None, &held, NOW);
        assert_eq!(confirm.standing(), None, "the first has nothing before it");

        Self {
            confirm,
            held,
            version: 1,
            now: NOW,
        }
    }

    fn config(&mut self, which: u8) {
        self.put(&config(&settings(which)));
    }

    fn put(&mut self, body: &SyntheticConfig) {
        self.version += 1;
        let named = SyntheticConfig {
            name: format!("node-{}", self.version),
            ..body.clone()
        };
        let new = held(self.version, &named);
        self.confirm.handle_config(Some(&self.held), &new, self.now);
        self.held = new;
    }

    fn poll(&mut self, endpoint: &str) -> bool {
        let proves = self.confirm.is_proven_at(endpoint, &[], &self.held.opened.body);

        self.confirm.handle_poll(self.now, proves)
    }

    fn wait(&mut self, millis: u64) -> Option<Step> {
        self.now = self.now.after(Duration::from_millis(millis));

        self.confirm.handle_timeout(&self.held, self.now)
    }

    fn restart(&mut self) {
        let (_, payload) = self.confirm.file(CLUSTER, NODE);
        self.confirm = Confirm::read(payload.as_bytes(), &trust(), NODE, Some(&self.held)).expect("whole");
        self.confirm.start(self.now);
    }

    /// The config as it is handed over.
    fn in_force(&self) -> SyntheticConfig {
        let mut opened = (*self.held.opened).clone();
        self.confirm.apply(&mut opened);

        opened.body
    }
}

fn settings(which: u8) -> Settings {
    Settings {
        controllers: vec![ControllerAddress {
            controller: ControllerId::from_bytes([1; 16]),
            endpoints: vec![which.to_string()],
        }],
        transport: Transport {
            heartbeat: 1_000 + u32::from(which),
            ..Transport::default()
        },
    }
}

fn config(settings: &Settings) -> SyntheticConfig {
    SyntheticConfig {
        name: "node".to_owned(),
        roles: Vec::new(),
        labels: Labels::default(),
        generation: 1,
        neighbours: Vec::new(),
        controllers: settings.controllers.clone(),
        transport: settings.transport,
        settings: Some(settings.digest()),
        offered_again: None,
    }
}

fn held(version: u64, body: &SyntheticConfig) -> Held<SyntheticConfig> {
    let stamp = Stamp {
        realm: CLUSTER.into(),
        subject: Subject::Node(NODE),
        epoch: 1,
        version,
        previous: None,
        issued_at: Wall(1_800_000_000_000),
        valid_until: None,
    };
    let bytes = seal(&stamp, body, &[&signer()]).into();

    Held::open(&trust(), &bytes, Subject::Node(NODE)).expect("ours")
}

fn trust() -> Trust {
    Trust::pinned(CLUSTER, 1, signer().verify_key())
}

fn signer() -> SigningKey {
    SigningKey::from_seed(&[11; 32])
}

const CLUSTER: ClusterId = ClusterId::from_bytes([0xC1; 16]);
const NODE: NodeId = NodeId::from_bytes([0x0D; 16]);
const NOW: Boot = Boot(1_000_000);

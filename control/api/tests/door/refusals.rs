//! What an operator is refused, and what is said about it: what, why, effect and fix.

use super::*;

#[test]
fn every_refusal_says_what_why_effect_and_fix() {
    let mut desk = Controller::new(60);
    desk.create_cluster();
    desk.join("a", &["member"]);
    for (action, input, fix) in cases() {
        let told = desk.refused(action, input);
        for part in ["code", "message", "why", "effect"] {
            assert!(told[part].as_str().is_some_and(|text| !text.is_empty()), "{told}");
        }
        let shown = told["fix"].as_str().expect("a fix");
        assert!(shown.starts_with(fix), "{action:?}: {shown}");
    }
}

#[test]
fn who_has_no_role_is_told_which_would_do() {
    let mut desk = Controller::new(61);
    desk.create_cluster();
    let stranger = protocol::id::OperatorId::from_bytes([9; 16]);
    let request = Request::Act {
        action: Action::TokenCreate,
        input: json!({}),
    };
    let caller = Caller::Local {
        operator: Some(stranger),
        uid: None,
    };
    let refused = desk.ask(&caller, &request).expect_err("no role");

    let told = refused.told(Some(Action::TokenCreate));
    assert_eq!(
        told["why"],
        "the operator has no role; any of these would do: owner, admin"
    );
    assert!(
        told["fix"].as_str().unwrap().starts_with("gabion role grant "),
        "{told}"
    );
}

/// What is asked in vain, and the command that the fix begins with.
fn cases() -> Vec<(Action, Value, &'static str)> {
    vec![
        (
            Action::ClusterCreate,
            json!({ "name": "prod" }),
            "gabion cluster list",
        ),
        (
            Action::ClusterCreate,
            json!({ "name": "no name" }),
            "gabion cluster create --help",
        ),
        (
            Action::ClusterCreate,
            json!({ "nam": "x" }),
            "gabion cluster create --help",
        ),
        (
            Action::TokenCreate,
            json!({ "max_uses": 0 }),
            "gabion token create --help",
        ),
        (
            Action::TokenCreate,
            json!({ "roles": ["king"] }),
            "gabion token create --help",
        ),
        (
            Action::TokenCreate,
            json!({ "approval": "perhaps" }),
            "gabion token create --help",
        ),
        (
            Action::TokenRevoke,
            json!({ "id": "x" }),
            "gabion token revoke --help",
        ),
        (
            Action::RequestApprove,
            json!({ "id": "x" }),
            "gabion request list",
        ),
        (Action::NodeDisable, json!({ "id": "x" }), "gabion node list"),
        (
            Action::NodeLabel,
            json!({ "id": "a", "set": { "A b": "" } }),
            "gabion node label --help",
        ),
        (Action::FindingAck, json!({ "id": "x" }), "gabion finding list"),
        (
            Action::PolicyApply,
            json!({ "policies": [{ "name": "p", "source": "", "target": "", "cadence": "now" }] }),
            "gabion policy apply --help",
        ),
        (
            Action::RouteShow,
            json!({ "source": "a", "target": "b" }),
            "gabion node list",
        ),
        (
            Action::RouteShow,
            json!({ "source": "a", "target": "a" }),
            "gabion why a a",
        ),
        (Action::RelayShow, json!({ "id": "a" }), "gabion relay list"),
        (
            Action::TokenList,
            json!({ "cluster": "x" }),
            "gabion cluster list",
        ),
    ]
}

impl Controller {
    fn refused(&mut self, action: Action, input: Value) -> Value {
        let failure = match action.effect() {
            control_api::action::Effect::Write => {
                let request = Request::Act { action, input };
                let answered = self.ask(
                    &Caller::Local {
                        operator: None,
                        uid: None,
                    },
                    &request,
                );
                answered.map(|_| ()).expect_err("refused")
            }
            control_api::action::Effect::Read | control_api::action::Effect::Maintain => {
                self.try_read(action, input).map(|_| ()).expect_err("refused")
            }
        };

        failure.told(Some(action))
    }
}

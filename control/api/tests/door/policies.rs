//! Policies: refused with their place, foreseen, and put into force.

use super::health::pair;
use super::*;

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    let (mut desk, cluster, ..) = pair(60);
    let nobody = json!({ "policies": [{ "name": "p", "source": "site=x", "target": "site=y" }] });
    let plan = desk.read(Action::PolicyPlan, nobody.clone());
    assert_eq!(
        (&plan["removed"], &plan["added"]),
        (&json!(1), &json!(0)),
        "{plan}"
    );
    let route = &plan["routes"][0];
    let shown = (
        &route["source"],
        &route["target"],
        &route["change"],
        &route["from"],
    );
    assert!(
        [("a", "b"), ("b", "a")].contains(&(shown.0.as_str().unwrap(), shown.1.as_str().unwrap())),
        "{route}"
    );
    assert_eq!((shown.2, shown.3), (&json!("removed"), &json!("direct")));
    let everybody = json!({ "policies": [{ "name": "p", "source": "*", "target": "*", "priority": 7 }] });
    let retuned = desk.read(Action::PolicyPlan, everybody)["routes"][0].clone();
    assert_eq!(
        (
            &retuned["change"],
            &retuned["priority_before"],
            &retuned["priority_after"]
        ),
        (&json!("retuned"), &json!(100), &json!(7)),
        "{retuned}"
    );
    assert_eq!(
        desk.read(Action::PolicyList, json!({})),
        json!([]),
        "nothing is in force"
    );

    desk.act(Action::PolicyApply, nobody.clone());
    desk.decide(cluster);
    let routes = desk.read(Action::RouteList, json!({}));
    assert_eq!(routes[0]["state"], "withdrawn", "as was foreseen: {routes}");
    let plan = desk.read(Action::PolicyPlan, nobody);
    assert_eq!(plan["routes"], json!([]), "now it changes nothing");
}

#[test]
fn a_policy_that_names_no_priority_has_that_of_a_route_without_one() {
    let (mut desk, cluster, ..) = pair(62);
    let of_default = desk.read(Action::RouteExplain, json!({ "source": "a", "target": "b" }));
    let silent = json!({ "policies": [{ "name": "p", "source": "*", "target": "*" }] });
    let applied = desk.act(Action::PolicyApply, silent);
    assert_eq!(
        applied[0]["priority"], of_default["decision"]["priority"],
        "{applied}"
    );

    desk.decide(cluster);
    let told = desk.read(Action::RouteExplain, json!({ "source": "a", "target": "b" }));
    assert_eq!(told["policy"], "p");
    assert_eq!(told["decision"]["priority"], of_default["decision"]["priority"]);
}

#[test]
fn what_is_wrong_with_a_policy_is_said_with_its_place_and_name() {
    let (mut desk, ..) = pair(61);
    let good = json!({ "name": "good", "source": "*", "target": "*" });
    let cases = [
        (
            json!({ "name": "bad", "source": "site", "target": "*" }),
            "policy 2 (\"bad\"): the source",
        ),
        (
            json!({ "name": "bad", "source": "*", "target": "*", "cadence": "often" }),
            "policy 2 (\"bad\"): the cadence",
        ),
        (good.clone(), "policy 2 has the name of another"),
    ];
    for (wrong, said) in cases {
        for action in [Action::PolicyPlan, Action::PolicyApply] {
            let input = json!({ "policies": [good, wrong] });
            let refused = if action == Action::PolicyPlan {
                desk.try_read(action, input).expect_err("refused")
            } else {
                desk.denied(action, input)
            };
            assert_eq!(refused.code, Code::ValidationFailed);
            assert!(refused.message.contains(said), "{}", refused.message);
        }
    }
    let many: Vec<Value> = (0..257)
        .map(|number| json!({ "name": format!("p{number}"), "source": "*", "target": "*" }))
        .collect();
    let refused = desk.denied(Action::PolicyApply, json!({ "policies": many }));
    assert!(refused.why.is_some_and(|why| why.contains("256")));
    assert_eq!(desk.read(Action::PolicyList, json!({})), json!([]));
}

impl Controller {
    fn denied(&mut self, action: Action, input: Value) -> Failure {
        let caller = Caller::Local {
            operator: None,
            uid: None,
        };

        self.ask(&caller, &Request::Act { action, input })
            .expect_err("refused")
    }
}

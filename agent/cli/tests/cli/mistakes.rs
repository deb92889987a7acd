//! What an operator can get wrong, and what the program then says.

use crate::program::Place;

#[test]
fn a_controller_that_does_not_answer_is_not_reached() {
    let place = Place::new();

    let failed = place.run("node list --socket none.sock").failed(4);
    assert!(
        failed.starts_with("error[unreachable]: the controller does not answer\n"),
        "{failed}"
    );
    for part in [
        "  why     none.sock cannot be opened",
        "  effect  nothing was changed",
        "  fix     systemctl start",
    ] {
        assert!(failed.contains(part), "{failed}");
    }
    let failed = place.run("agent status --agent-socket none.sock").failed(4);
    assert!(
        failed.contains("the agent of this host does not answer"),
        "{failed}"
    );
    let failed = place
        .run("status --socket none.sock --agent-socket none.sock")
        .failed(4);
    assert!(
        failed.contains("neither a controller nor an agent answers"),
        "{failed}"
    );
}

#[test]
fn why_without_a_controller_says_so() {
    let place = Place::new();

    let ran = place.run("why a b --socket none.sock --agent-socket none.sock -o json");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.contains("\"controller_unreachable\""), "{ran:?}");
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let place = Place::new();

    assert!(place.run("nod list").failed(2).contains("node"));
    assert!(place.run("node list -o xml").failed(2).contains("jsonl"));
    assert!(
        place
            .run("node label web-01 site")
            .failed(2)
            .contains("KEY=VALUE")
    );
    assert!(
        place
            .run("node list --context prod")
            .failed(2)
            .contains("no context called \"prod\"")
    );
}

#[test]
fn every_error_says_what_why_effect_and_fix() {
    let place = Place::new();
    place.write("no.toml", "listen = 1\n");
    place.write("policies.toml", "[");
    for line in [
        "",
        "node",
        "nod list",
        "node list -o xml",
        "node list --context prod",
        "node list --socket none.sock",
        "node label web-01 site",
        "node revoke web-01 --socket none.sock",
        "agent run --config no.toml",
        "agent join --token-file none",
        "agent status --agent-socket none.sock",
        "agent leave --agent-socket none.sock",
        "run --config no.toml",
        "controller run --data-dir data",
        "controller init --data-dir data",
        "inspect none",
        "policy apply policies.toml --socket none.sock",
        "request approve a b --fingerprint x",
        "root show --key none",
        "audit verify --data none",
        "backup none/copy --socket none.sock",
        "ping a --agent-socket none.sock",
        "ping a b c",
    ] {
        let ran = place.run(line);
        assert!(ran.code != 0, "{line}: {ran:?}");
        assert!(ran.stderr.starts_with("error["), "{line}: {ran:?}");
        for part in ["\n  why     ", "\n  effect  ", "\n  fix     "] {
            assert!(ran.stderr.contains(part), "{line}: {ran:?}");
        }
    }
}

#[test]
fn a_mistake_in_a_configuration_is_shown_with_line_and_key() {
    let place = Place::new();
    place.write("agent.toml", "listen = \"127.0.0.1:0\"\nlistn = 1\n");

    let failed = place.run("agent run --config agent.toml").failed(2);
    assert!(
        failed.starts_with("error[config_invalid]: agent.toml is not a valid configuration\n"),
        "{failed}"
    );
    assert!(failed.contains("line 2") && failed.contains("listn"), "{failed}");
    assert!(failed.contains("fix     correct agent.toml"), "{failed}");

    let failed = place.run("agent run --config nowhere.toml").failed(2);
    assert!(failed.contains("nowhere.toml cannot be read"), "{failed}");
    place.write("gabion.toml", "");
    assert!(
        place
            .run("run --config gabion.toml")
            .failed(2)
            .contains("names no role")
    );
}

#[test]
fn a_variable_that_cannot_be_used_is_refused() {
    let place = Place::new().with("GABION_AGENT_LISTEN", "everywhere");
    place.write("gabion.toml", "[agent]\n");

    assert!(place.run("agent run").failed(2).contains("everywhere"));
    assert!(
        place
            .run("run --config gabion.toml")
            .failed(2)
            .contains("everywhere")
    );
    let place = Place::new().with("GABION_LOG", "gabion=loud");
    assert!(place.run("version").failed(2).contains("GABION_LOG=gabion=loud"));
}

#[test]
fn a_host_without_a_token_is_told_how_to_get_one() {
    let place = Place::new();

    let line = "agent run --state-dir state --agent-listen 127.0.0.1:0 --name web-01";
    let failed = place.run(line).failed(2);
    assert!(
        failed.contains("this host has neither an identity nor a join token"),
        "{failed}"
    );
    assert!(failed.contains("gabion agent join --token-file FILE"), "{failed}");
}

#[test]
fn a_token_that_was_cut_short_is_sent_to_nobody() {
    let place = Place::new();
    let line = "agent join --state-dir state --agent-listen 127.0.0.1:0 --name web-01 --token-file -";

    let failed = place.run_with_input(line, "gbj1_abcdef").failed(2);
    assert!(failed.starts_with("error[token_malformed]"), "{failed}");
    assert!(failed.contains("effect  nothing was sent to anyone"), "{failed}");
}

#[test]
fn a_strict_installation_needs_a_root() {
    let place = Place::new();

    let failed = place.run("controller init --data-dir data").failed(2);
    assert!(
        failed.contains("a strict installation needs a product root"),
        "{failed}"
    );
    assert!(!place.path("data").exists());
    let failed = place.run("controller run --data-dir data").failed(2);
    assert!(
        failed.starts_with("error[not_initialised]: there is no installation in data\n"),
        "{failed}"
    );
}

//! The names of the clients of several `run`s, also where they share files and not their process numbers.

use std::process::Command;

use crate::support::run::{clients, script, stage};

/// Two containers with one state directory: in each of them the `run` is process 2 or so.
#[test]
fn runs_with_one_process_number_in_two_namespaces_keep_their_keys() {
    let (_upstream, home) = stage();
    let text = "test $PARENT = $PPID || exit 4; touch begun-$1; while ! test -e go-$1; do sleep 0.02; done; \
                curl -s -o /dev/null -w '%{http_code}\\n' $NEXUDUS_BASE_URL/api/auth/me";
    let contained = |number: &str| {
        let inner = script(&home, "run -q", text);
        let mut run = Command::new("unshare");
        run.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
        // Each `run` is process 2 of its namespace.
        run.args(["\"$@\"; exit $?", "-"]).arg(inner.get_program()).args(inner.get_args());
        run.args(["-", number]).env_clear().current_dir(home.root());
        run.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run.env("PARENT", "2").stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let begun = |number: &str| {
        let file = home.path(&format!("begun-{number}"));
        crate::shared::eventually("the command begins", || file.exists());
    };

    let first = contained("1");
    begun("1");
    let second = contained("2");
    begun("2");
    let listed: serde_json::Value = serde_json::from_str(&clients(&home)).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    // A third one, where neither number means a process.
    assert_eq!(home.transcript(&mut script(&home, "run -q", "true")), "=> 0\n");

    for (number, run) in [("1", first), ("2", second)] {
        std::fs::write(home.path(&format!("go-{number}")), "").unwrap();
        let told = run.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(told.stdout).unwrap(), "200\n", "{number}");
    }
    assert_eq!(clients(&home), "[]");
}

/// In a container the next `run` often has the number of the one that was killed.
#[test]
fn what_a_killed_run_has_left_is_removed_by_the_next_one_of_its_place() {
    let (_upstream, home) = stage();
    let mut killed = script(&home, "run -q", "touch begun; exec cat");
    let mut killed = killed.stdin(std::process::Stdio::piped()).spawn().unwrap();
    crate::shared::eventually("the command begins", || home.path("begun").exists());
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(clients(&home).contains(&format!("run-{}-", killed.id())));

    assert_eq!(home.transcript(&mut script(&home, "run -q", "true")), "=> 0\n");

    assert_eq!(clients(&home), "[]");
}

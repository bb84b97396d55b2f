//! The workflows: foreign code is pinned by its commit, and each job names its rights.

use crate::markdown::root;

#[test]
fn every_action_is_pinned_and_every_job_names_its_rights() {
    let mut actions = 0;
    for entry in std::fs::read_dir(root().join(".github/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display();

        for used in text
            .lines()
            .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: "))
        {
            let (pinned, version) = used.split_once(" # v").unwrap_or((used, ""));
            let commit = pinned.split_once('@').unwrap_or_default().1;
            let is_commit = commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_commit && !version.is_empty(), "{name}: {used}");
            actions += 1;
        }
        assert!(text.contains("\npermissions: {}\n"), "{name}: no right is the default");
        let (_, jobs) = text.split_once("\njobs:\n").unwrap();
        let starts =
            |line: &&str| line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
        let count = jobs.lines().filter(starts).count();
        let named = jobs.lines().filter(|line| line.starts_with("    permissions:")).count();
        assert!(count > 0 && count == named, "{name}: {named} of {count} jobs name their rights");
        // A job that hangs is no job that runs for six hours.
        let bounded = jobs.lines().filter(|line| line.starts_with("    timeout-minutes:")).count();
        assert_eq!(count, bounded, "{name}: jobs without a bound");
    }
    assert!(actions > 10, "{actions}");
}

//! The trie agrees with the rules one by one, and its cost does not grow with their number.

use proptest::prelude::*;

use super::*;

/// The verdict of [`RuleSet`], from the rules one by one.
struct Linear<'a> {
    rules: &'a [Rule],
    method: &'a str,
    path: &'a str,
}

impl Linear<'_> {
    fn found(&self) -> RuleMatches {
        let is_about = |rule: &&Rule| rule.matches_ignoring_extensions(self.method, self.path);
        let about: Vec<_> = self.rules.iter().filter(is_about).collect();
        let position = |rule: &&Rule| self.rules.iter().position(|it| std::ptr::eq(it, *rule));
        RuleMatches {
            first: about.iter().find(|rule| !rule.is_command()).and_then(position),
            has_command: about.iter().any(|rule| rule.is_command()),
        }
    }

    fn commands(&self) -> Vec<&Rule> {
        let is_about = |rule: &&Rule| rule.matches_ignoring_extensions(self.method, self.path);
        self.rules.iter().filter(|rule| rule.is_command()).filter(is_about).collect()
    }

    fn first(&self) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(self.method, self.path))
    }
}

fn rule_text() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => "[abc]{1,2}",
        2 => Just("**".to_owned()),
        1 => "[ab*]{1,3}",
        1 => "[a-c]{1,2}\\*[a-c]{0,2}",
        1 => Just("runcommand".to_owned()),
        1 => "[ab]\\.[ab]",
    ];
    let method =
        prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE", "*", "RUN *a*", "RUN b"]);
    (method, prop::collection::vec(segment, 0..5))
        .prop_map(|(method, segments)| format!("{method} /{}", segments.join("/")))
}

fn request_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => "[abcABC]{1,3}",
        1 => Just(String::new()),
        1 => "[abc]{0,2}\\.[abc]{0,2}(\\.b)?",
        1 => Just("runCommand".to_owned()),
        1 => Just("runcommand.json".to_owned()),
    ];
    prop::collection::vec(segment, 0..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn a_set_of_rules_agrees_with_its_rules_one_by_one(
        texts in prop::collection::vec(rule_text(), 0..12),
        paths in prop::collection::vec(request_path(), 1..8),
    ) {
        let rules: Vec<_> = texts.iter().map(|text| Rule::parse(text).unwrap()).collect();
        let set = RuleSet::from(rules.clone());
        for (method, path) in paths.iter().flat_map(|path| METHODS.map(|method| (method, path))) {
            let linear = Linear { rules: &rules, method, path };
            let mut found = RuleMatches::default();
            set.find_ignoring_extensions(method, path, &mut found);
            prop_assert_eq!(found, linear.found(), "{} {} {:?}", method, path, texts);
            prop_assert_eq!(set.commands_ignoring_extensions(method, path), linear.commands());
            prop_assert_eq!(set.all(method, path).next(), linear.first(), "{} {}", method, path);
            let all: Vec<_> = set.all(method, path).collect();
            prop_assert!(all.iter().all(|rule| rule.matches(method, path)));
            // A rule that is left out is about the same requests as one before it.
            for rule in rules.iter().filter(|rule| rule.matches(method, path)) {
                prop_assert!(all.iter().any(|it| it.segments == rule.segments), "{} {:?}", path, rule);
            }
        }
    }
}

#[test]
fn globs_are_found_by_their_longer_end() {
    let texts = ["* /coworker*s", "* /*users", "* /x*users", "* /*token*", "* /*", "* /a*b*c"];
    let set: RuleSet = texts.iter().map(|text| Rule::parse(text).unwrap()).collect();
    for (path, about) in [
        ("/CoworkerInvoices", &[0, 4][..]),
        ("/users", &[1, 4]),
        ("/xusers", &[1, 2, 4]),
        ("/mytokens", &[3, 4]),
        ("/a1b2c", &[4, 5]),
        ("/", &[]),
    ] {
        let all: Vec<_> = set.all("GET", path).map(Rule::as_str).collect();
        let expected: Vec<_> = about.iter().map(|at| texts[*at]).collect();
        assert_eq!(all, expected, "{path}");
    }
}

/// The steps of a walk are counted, and not timed: nodes, and globs that are tried.
#[test]
fn a_walk_reaches_few_nodes_whatever_the_number_of_rules() {
    let reached = |rules: usize| {
        let rule = |at: usize| match at % 4 {
            0 => format!("DELETE /api/spaces/entity{at}/**"),
            1 => format!("* /api/area{at}/coworkers/*"),
            2 => format!("GET /api/**/name{at}"),
            _ => format!("POST /api/spaces/prefix{at}*/x"),
        };
        let set: RuleSet = (0..rules).map(|at| Rule::parse(&rule(at)).unwrap()).collect();
        let mut steps = 0;
        let (mut ids, mut next) = (NodeIds::new(), NodeIds::new());
        reach(&set.0.nodes, ROOT, &mut ids);
        for segment in ["api", "spaces", "coworkers", "1"] {
            next.clear();
            for node in ids.iter().map(|id| &set.0.nodes[*id as usize]) {
                steps += 1 + node.others.len() + node.by_prefix.lengths.len();
                node.is_any.into_iter().for_each(|id| reach(&set.0.nodes, id, &mut next));
                node.follow(segment.as_bytes(), |id| reach(&set.0.nodes, id, &mut next));
            }
            std::mem::swap(&mut ids, &mut next);
        }
        steps
    };
    let (few, many) = (reached(40), reached(10_000));
    assert!(many <= few + 8, "{few} steps with 40 rules, {many} with 10,000");
}

const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "DELETE", "PATCH"];

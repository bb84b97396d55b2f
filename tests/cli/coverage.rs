//! Every key of the configuration and every flag has a test that it does something. The table names
//! it, and here is checked that the table is whole and that the test is about what it is said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nexudus_proxy::config::{KEYS, Key};

use crate::support::home;

/// Each key, and a test that fails when it does nothing.
const OF_KEYS: &[(&str, &str)] = &[
    ("upstream.origin", "why_there_is_no_token_is_said_in_the_answer_and_in_the_status"),
    ("upstream.ca_file", "without_the_ca_file_nobody_is_believed"),
    ("upstream.address", "an_address_takes_the_place_of_the_name_for_every_call"),
    ("upstream.proxy", "everything_goes_through_the_proxy_that_is_configured"),
    ("upstream.auth", "each_request_carries_the_login_and_no_token_is_asked_for"),
    ("upstream.http2", "http2_is_spoken_where_it_is_asked_for"),
    ("upstream.user_agent", "the_user_agent_takes_the_place_of_the_clients"),
    ("upstream.trace", "a_trace_goes_on_only_where_that_is_configured"),
    ("upstream.connect_timeout", "a_connection_that_takes_too_long_is_given_up"),
    ("upstream.header_timeout", "an_answer_that_takes_too_long_is_given_up"),
    ("upstream.upgrade", "the_log_tells_of_a_websocket_and_of_no_token"),
    ("upstream.via", "our_fields_frame_those_of_the_caller"),
    ("host", "another_configured_host_gets_the_same_token_on_its_own_port"),
    ("listen.tcp", "an_exposed_daemon_serves_nobody_without_a_key"),
    ("listen.unix", "the_socket_is_where_it_was_wanted_or_nowhere"),
    ("listen.users", "a_named_user_comes_over_tcp_and_a_member_of_a_named_group_by_the_socket_too"),
    (
        "listen.groups",
        "a_named_user_comes_over_tcp_and_a_member_of_a_named_group_by_the_socket_too",
    ),
    ("listen.hosts", "another_name_for_this_machine_is_answered_to"),
    ("listen.tls", "https_is_spoken_with_the_certificate_of_this_machine"),
    ("listen.expose", "an_exposed_daemon_serves_nobody_without_a_key"),
    ("forward_proxy.listen", "a_configured_origin_is_intercepted_and_its_requests_get_the_token"),
    ("forward_proxy.other_hosts", "other_hosts_are_tunnelled_where_that_is_configured"),
    ("forward_proxy.allow", "other_hosts_are_tunnelled_where_that_is_configured"),
    ("admin.listen", "over_tcp_there_is_reading_only_and_no_web_page"),
    ("admin.health_listen", "health_probes_get_a_status_and_nothing_else"),
    ("admin.users", "whoever_is_named_in_admin_users_may_use_the_socket_and_nobody_else"),
    ("credentials.source", "a_login_that_would_not_be_read_is_refused"),
    ("credentials.email", "the_login_comes_from_the_command_with_the_email_beside_it"),
    ("credentials.command", "the_login_comes_from_the_command_with_the_email_beside_it"),
    ("session.store", "the_session_is_kept_where_it_was_wanted_under_the_key_that_was_named"),
    ("session.key", "the_session_is_kept_where_it_was_wanted_under_the_key_that_was_named"),
    ("session.key_command", "the_session_is_kept_where_it_was_wanted_under_the_key_that_was_named"),
    ("session.client_id", "the_client_id_is_the_one_that_was_given"),
    ("session.wait", "a_request_waits_for_the_first_login_as_long_as_configured"),
    ("policy.anonymous", "a_key_opens_the_door_wherever_it_is_shown_and_goes_no_further"),
    ("policy.deny", "no_spelling_of_a_denied_path_reaches_nexudus"),
    ("policy.ask", "a_command_is_asked_about_by_its_key_and_reads_are_not"),
    ("approval.hold", "the_time_for_a_decision_is_configured"),
    ("approval.timeout", "the_time_for_a_decision_is_configured"),
    ("audit.file", "what_a_client_did_is_told_in_order"),
    ("audit.wait", "a_write_is_held_for_a_slow_disk_no_longer_than_configured"),
    ("audit.size", "a_full_file_is_put_aside_and_the_chain_goes_on"),
    ("audit.required", "a_write_is_refused_where_it_must_be_recorded_and_cannot_be"),
    ("policy.cookies", "cookies_are_relayed_where_that_is_wanted_and_never_for_a_limited_caller"),
    (
        "policy.anonymous_redact",
        "callers_without_a_key_are_redacted_where_the_configuration_says_so",
    ),
    ("redact.fields", "a_list_keeps_its_shape_and_loses_its_persons"),
    ("redact.keep", "callers_without_a_key_are_redacted_where_the_configuration_says_so"),
    ("throttle.wait", "writes_keep_a_pace_of_their_own_and_wait_no_longer_than_configured"),
    ("throttle.reads", "a_configured_pace_is_kept_from_the_first_request_on"),
    ("throttle.writes", "writes_keep_a_pace_of_their_own_and_wait_no_longer_than_configured"),
    ("limits.header_bytes", "an_answer_to_what_never_became_a_request_is_counted_too"),
    ("limits.headers", "who_is_too_slow_too_large_or_too_many_is_told_so"),
    ("limits.response_header_bytes", "an_answer_beyond_the_limits_is_refused_with_its_reason"),
    ("limits.response_headers", "an_answer_beyond_the_limits_is_refused_with_its_reason"),
    ("limits.target_bytes", "a_head_that_is_too_large_is_told_so"),
    ("fleet.engine", "the_ports_that_sentinel_announces_are_not_forbidden"),
    ("fleet.username", "the_engines_user_and_the_name_of_a_machine_are_configured"),
    ("fleet.password_command", "the_engines_user_and_the_name_of_a_machine_are_configured"),
    ("fleet.key_command", "a_fleet_without_a_key_is_no_fleet_and_no_machine_alone"),
    ("fleet.ca_file", "the_engines_trust_anchors_are_read_at_the_start"),
    ("fleet.ports", "the_ports_that_sentinel_announces_are_not_forbidden"),
    ("fleet.share", "what_a_fleet_cannot_keep_is_refused_with_a_way_out"),
    ("fleet.durability", "a_write_waits_for_the_replicas_unless_nothing_is_to_be_waited_for"),
    ("fleet.clients_stale", "what_a_fleet_cannot_keep_is_refused_with_a_way_out"),
    (
        "fleet.fail_closed_after",
        "a_machine_that_is_cut_off_refuses_everybody_where_that_is_configured",
    ),
    (
        "fleet.partition_login",
        "an_account_with_codes_logs_in_while_cut_off_only_where_that_is_configured",
    ),
    ("fleet.name", "the_engines_user_and_the_name_of_a_machine_are_configured"),
    ("limits.replay_body", "a_body_is_sent_again_only_up_to_its_bound"),
    ("limits.body_bytes", "who_is_too_slow_too_large_or_too_many_is_told_so"),
    ("limits.connections", "who_is_too_slow_too_large_or_too_many_is_told_so"),
    ("limits.idle_connections", "idle_connections_follow_the_demand_up_to_their_limit"),
    ("limits.header_timeout", "an_answer_to_what_never_became_a_request_is_counted_too"),
    ("limits.body_idle", "who_is_too_slow_too_large_or_too_many_is_told_so"),
    ("limits.keep_alive", "a_connection_without_requests_is_closed_after_a_while"),
    ("log.level", "a_reload_takes_over_what_it_can_names_the_rest_and_ends_no_connection"),
    ("log.format", "the_log_has_the_shape_that_was_asked_for_and_says_more_on_request"),
    ("log.server_timing", "who_asks_is_told_where_the_time_went"),
    ("daemon.drain", "a_second_signal_ends_it_at_once"),
    ("daemon.threads", "a_reload_changes_the_number_and_loses_no_request"),
    ("notify.command", "a_person_is_called_once_per_cause_and_gets_no_secret"),
];

/// Each flag that is no key, with its command, and a test that fails when it does nothing.
const OF_FLAGS: &[(&str, &str)] = &[
    ("--color", "colour_is_for_terminals_and_for_those_who_ask"),
    ("--config", "the_path_follows_the_file_that_is_asked_for"),
    ("--json", "whoami_as_json_has_the_names_of_nexudus_and_no_token"),
    ("--system", "a_flag_chooses_the_daemon_and_a_stranger_is_told_whose_files_are_used"),
    ("--user", "a_flag_chooses_the_daemon_and_a_stranger_is_told_whose_files_are_used"),
    ("--profile", "a_profile_has_a_service_of_its_own"),
    ("--quiet", "quiet_says_only_what_went_wrong"),
    ("--verbose", "the_log_has_the_shape_that_was_asked_for_and_says_more_on_request"),
    ("api --all", "all_pages_are_one_document_and_a_line_for_each_record"),
    ("api --input", "a_body_comes_from_a_file_or_from_stdin_and_a_key_from_the_environment"),
    ("api --ndjson", "all_pages_are_one_document_and_a_line_for_each_record"),
    ("ca export --output", "a_root_is_written_to_a_file_and_intercept_is_for_one_program"),
    ("ca trust --yes", "a_person_trusts_the_localhost_authority_and_takes_it_back"),
    ("client add --allow", "the_verdict_names_the_rule"),
    ("approvals approve --for", "a_person_reads_a_call_and_decides"),
    ("approvals approve --rule", "a_person_reads_a_call_and_decides"),
    ("audit show --client", "the_record_is_shown_and_checked"),
    ("audit show --file", "the_record_is_shown_and_checked"),
    ("audit verify --file", "the_record_is_shown_and_checked"),
    ("client add --ask", "questions_and_budgets_are_limits_of_a_client"),
    ("client add --guide", "questions_and_budgets_are_limits_of_a_client"),
    ("client add --max-bytes", "questions_and_budgets_are_limits_of_a_client"),
    ("client add --max-deletes", "questions_and_budgets_are_limits_of_a_client"),
    ("client add --max-writes", "questions_and_budgets_are_limits_of_a_client"),
    (
        "client set --guide",
        "a_client_that_asks_is_added_with_the_command_that_answers_and_has_a_guide_later",
    ),
    ("client set --ask", "questions_and_budgets_are_limits_of_a_client"),
    ("client set --max-bytes", "questions_and_budgets_are_limits_of_a_client"),
    ("client set --max-deletes", "questions_and_budgets_are_limits_of_a_client"),
    ("client set --max-writes", "questions_and_budgets_are_limits_of_a_client"),
    ("client add --deny", "a_key_may_not_do_what_it_is_denied"),
    ("client add --expires", "a_key_may_not_do_what_it_is_denied"),
    (
        "client add --max-requests",
        "a_key_is_printed_once_and_the_client_is_listed_until_it_is_revoked",
    ),
    ("client add --no-delete", "a_key_that_deletes_nothing_is_one_word"),
    ("client add --origin", "a_key_for_pages_names_their_origin"),
    ("client add --rate", "a_key_is_printed_once_and_the_client_is_listed_until_it_is_revoked"),
    ("client add --read-only", "a_rule_without_effect_is_warned_of"),
    ("client add --redact", "what_goes_round_a_redacted_key_is_said_when_it_is_made"),
    ("client add --resolve", "what_is_hidden_from_a_client_is_listed_and_changed"),
    ("client add --share-tokens", "what_is_hidden_from_a_client_is_listed_and_changed"),
    ("client set --allow", "limits_change_and_the_key_does_not"),
    ("client set --clear", "limits_change_and_the_key_does_not"),
    ("client set --deny", "limits_change_and_the_key_does_not"),
    ("client set --expires", "limits_change_and_the_key_does_not"),
    ("client set --max-requests", "limits_change_and_the_key_does_not"),
    ("client set --no-delete", "limits_change_and_the_key_does_not"),
    ("client set --origin", "a_key_for_pages_names_their_origin"),
    ("client set --rate", "limits_change_and_the_key_does_not"),
    ("client set --read-only", "limits_change_and_the_key_does_not"),
    ("client set --redact", "what_is_hidden_from_a_client_is_listed_and_changed"),
    ("client set --resolve", "what_is_hidden_from_a_client_is_listed_and_changed"),
    ("client set --share-tokens", "what_is_hidden_from_a_client_is_listed_and_changed"),
    ("config init --force", "a_file_is_replaced_only_by_force"),
    ("demo --token-life", "its_lines_work_when_pasted_and_still_after_the_token_has_rotated_twice"),
    ("env --intercept", "a_shell_is_led_through_a_forward_proxy_that_lets_all_hosts_through"),
    ("env --shell", "a_shell_is_led_to_the_daemon_and_back"),
    ("env --undo", "a_shell_is_led_to_the_daemon_and_back"),
    ("fleet leave --yes", "a_machine_that_is_alone_has_no_fleet"),
    ("lock --here", "a_person_is_asked_before_the_session_of_others_ends"),
    ("lock --yes", "a_person_is_asked_before_the_session_of_others_ends"),
    ("logout --yes", "a_person_is_asked_before_the_session_of_others_ends"),
    ("login --email", "a_start_with_a_locked_keyring_stays_up_and_goes_on_when_it_opens"),
    ("login --import-stdin", "a_session_of_somebody_else_is_taken_over_with_its_client_id"),
    ("login --password-stdin", "a_start_with_a_locked_keyring_stays_up_and_goes_on_when_it_opens"),
    ("login --session-only", "a_session_only_login_keeps_no_password"),
    ("logout --revoke", "revoke_deletes_this_installations_refresh_tokens_and_no_others"),
    ("login --totp", "a_code_that_is_needed_is_asked_for_or_named"),
    ("login --totp-secret-stdin", "the_2fa_secret_is_the_second_line"),
    ("open --output", "a_document_is_saved_where_it_was_wanted"),
    ("policy explain --client", "a_key_may_not_do_what_it_is_denied"),
    ("policy explain --command", "a_verdict_on_a_deletion_tells_of_commands"),
    ("status --watch", "the_status_is_watched_until_a_key_ends_it"),
    ("run --allow", "the_limits_of_a_run_are_obeyed"),
    ("run --also", "an_isolation_needs_names_and_takes_no_other_reach"),
    ("run --ask", "a_run_asks_nobody_and_keeps_its_budget"),
    ("run --max-bytes", "a_run_asks_nobody_and_keeps_its_budget"),
    ("run --max-deletes", "a_run_asks_nobody_and_keeps_its_budget"),
    ("run --max-writes", "a_run_asks_nobody_and_keeps_its_budget"),
    ("run --deny", "the_limits_of_a_run_are_obeyed"),
    ("run --isolate", "a_program_that_knows_no_proxy_is_served_and_only_our_bearer_arrives"),
    ("run --no-intercept", "nothing_of_this_program_or_of_the_person_is_reached_from_inside"),
    ("run --expires", "the_limits_of_a_run_are_obeyed"),
    ("run --max-requests", "the_limits_of_a_run_are_obeyed"),
    ("run --no-delete", "the_limits_of_a_run_are_obeyed"),
    ("run --rate", "the_limits_of_a_run_are_obeyed"),
    ("run --read-only", "with_a_daemon_its_own_limits_hold_as_well"),
    ("run --redact", "the_responses_of_a_run_are_redacted"),
    ("run --resolve", "the_responses_of_a_run_are_redacted"),
    ("run --share-tokens", "the_responses_of_a_run_are_redacted"),
    ("serve --read-only", "read_only_serves_reading"),
    ("service install --yes", "a_program_below_a_home_is_copied_to_where_the_unit_sees_it"),
    ("service logs --follow", "it_is_started_looked_at_read_stopped_and_removed"),
    ("service logs --lines", "it_is_started_looked_at_read_stopped_and_removed"),
    ("service uninstall --purge", "what_is_left_is_named_and_purged_only_after_a_yes"),
    ("service uninstall --yes", "what_is_left_is_named_and_purged_only_after_a_yes"),
    ("tail --client", "tail_shows_one_client_alone"),
    ("tail --har", "an_archive_is_whole_and_private_however_its_command_ends"),
    ("tail --with-bodies", "queries_and_bodies_come_with_their_flags_alone_and_redacted"),
    ("tail --with-queries", "queries_and_bodies_come_with_their_flags_alone_and_redacted"),
    ("tail --status", "tail_shows_what_was_asked_for_and_no_query"),
    ("ui --bodies", "content_is_shown_where_the_command_was_asked_for_it"),
    ("ui --no-open", "a_browser_is_opened_unless_that_is_not_wanted_and_the_port_can_be_chosen"),
    ("ui --port", "a_browser_is_opened_unless_that_is_not_wanted_and_the_port_can_be_chosen"),
    ("ui --read-only", "a_page_that_only_shows_changes_nothing"),
    ("wait --once", "one_look_tells_a_probe_how_it_is"),
    ("wait --timeout", "a_daemon_is_waited_for_looked_at_and_stopped"),
];

#[test]
fn every_key_has_a_test_that_it_does_something() {
    let known: BTreeSet<_> = KEYS.iter().map(Key::path).collect();
    let listed: BTreeSet<_> = OF_KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(known, listed, "name a test of each key in OF_KEYS");

    let tests = tests();
    for (key, name) in OF_KEYS {
        let body = tests.get(*name).unwrap_or_else(|| panic!("{key}: there is no test {name}"));
        let entry = KEYS.iter().find(|entry| entry.path() == *key).unwrap();
        let flags = [entry.flag(), entry.shorthand.unwrap_or_default().to_owned()];
        let mut spellings = vec![format!("config.{key}"), entry.env_variable()];
        spellings.extend(flags.iter().filter(|flag| !flag.is_empty()).map(|it| format!("--{it}")));
        spellings.push(format!("[{}]\\n{} = ", entry.section, entry.name));
        spellings.push(format!("config.{key}s = "));
        let is_about = spellings.iter().any(|spelling| body.contains(spelling));
        assert!(is_about, "{name} says nothing of {key}: none of {spellings:?}");
    }
}

#[test]
fn every_flag_has_a_test_that_it_does_something() {
    let listed: BTreeSet<_> = OF_FLAGS.iter().map(|(flag, _)| (*flag).to_owned()).collect();
    assert_eq!(flags(), listed, "name a test of each flag in OF_FLAGS");

    let tests = tests();
    for (flag, name) in OF_FLAGS {
        let body = tests.get(*name).unwrap_or_else(|| panic!("{flag}: there is no test {name}"));
        let (_, long) = flag.rsplit_once(' ').unwrap_or(("", flag));
        let short = match long {
            "--verbose" => "-v",
            "--quiet" => "-q",
            _ => long,
        };
        assert!(body.contains(long) || body.contains(short), "{name} says nothing of {flag}");
    }
}

/// Every test, by its name, with its text.
fn tests() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for suite in ["cli", "integration", "system"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(suite);
        for file in fs::read_dir(directory).unwrap() {
            let Ok(text) = fs::read_to_string(file.unwrap().path()) else { continue };
            for marked in
                text.split("\n#[test]\n").skip(1).chain(text.split("\n#[tokio::test]\n").skip(1))
            {
                let Some((_, rest)) = marked.split_once("fn ") else { continue };
                let name = rest.split('(').next().unwrap().to_owned();
                let body = rest.split("\n}\n").next().unwrap().to_owned();
                found.insert(name, body);
            }
        }
    }
    found
}

/// Every flag of every command as its help has it; keys of the configuration are flags too, and
/// have their own table.
fn flags() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut commands = vec![String::new()];
    while let Some(command) = commands.pop() {
        let help = home().run(&format!("{command} --help"));
        let mut in_commands = false;
        for line in help.lines() {
            in_commands = (in_commands || line == "Commands:") && !line.is_empty();
            let word = line.split_whitespace().next().unwrap_or_default();
            if in_commands && line.starts_with("  ") && !line.starts_with("   ") && word != "help" {
                commands.push(format!("{command} {word}").trim().to_owned());
            }
            let words = line.split_whitespace().map(|word| word.trim_end_matches("..."));
            let Some(name) = words.filter_map(|word| word.strip_prefix("--")).next() else {
                continue;
            };
            let name = name.split('[').next().unwrap();
            let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            let is_flag = line.trim_start().starts_with('-') && is_name;
            let is_key = ["serve", "run"].contains(&command.as_str())
                && KEYS.iter().any(|entry| entry.flag() == name || entry.shorthand == Some(name));
            // The command above has it too, and was looked at before.
            let above = command.rsplit_once(' ').map_or("", |(above, _)| above);
            let inherited = [above, ""].map(|above| format!("{above} --{name}").trim().to_owned());
            let is_inherited = !command.is_empty() && inherited.iter().any(|it| found.contains(it));
            if is_flag && !is_key && !is_inherited && !["help", "version"].contains(&name) {
                found.insert(format!("{command} --{name}").trim().to_owned());
            }
        }
    }
    found
}

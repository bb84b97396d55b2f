//! The settings in words, for people who write scripts.

/// One line for every setting; a test keeps it complete.
pub(crate) const SETTINGS_REFERENCE: &str = "\
Durations are \"100ms\", \"20s\", \"15d\" or a number of seconds.

token.access_life                 life of an access token issued from now on
token.refresh_life                life of a refresh token
token.sliding_refresh             each rotation starts the refresh life anew
token.rotation_grace              a just-used refresh token still works this long
token.rotate                      false: refreshing keeps the refresh token and returns none
token.omit_refresh_token          leave refresh_token out of every reply
token.refresh_needs_client_id     refuse a refresh without the client_id header
token.client_id_in_form           also read client_id from the form
token.revoke_access_on_login      a login kills the client's older access tokens
token.revoke_access_on_refresh    a refresh kills the client's older access tokens
token.revoke_on_password_change   a new password kills the account's tokens
token.per_host                    a token works only on the Host it was issued for
token.bad_login_status            400, 401 or 500
token.bad_login_body              json, empty, html
token.unknown_account_status      status for an unknown e-mail
token.code_placement              error, description: where two_factor_auth_check stands
token.code_case                   lower, upper, title
token.wrong_totp                  invalid_grant, two_factor
token.lockout_after               failed logins before a lock-out; null: never
token.lockout_status              409, 429 or 400 while locked out
token.lockout_life                how long a lock-out lasts
token.expires_in                  seconds, text, minutes, absent, null, zero, negative, huge,
                                  nonsense, {\"fixed\": N}
token.pascal_case                 AccessToken instead of access_token
access.me_without_api_access      /api/auth/me answers accounts without API access
access.refusal                    empty, json, html (401); redirect (302); login_page (200)
access.no_permission_status       401 or 403
access.www_authenticate           value on every 401; null: none
access.basic                      accept Basic
access.basic_with_totp            accept Basic for accounts with a second factor
access.coworkers_per_day          coworkers that can be created in a day, then \"Access Denied\"
                                  (with access.no_permission_status); null: no limit
access.forbidden                  path prefixes that no account may use
throttle.windows                  [{\"limit\": 10, \"per\": \"5s\", \"scope\": \"all|reads|writes\",
                                  \"key\": \"global|path|token\"}]
throttle.next                     throttle that many requests, whatever the windows say
throttle.next_path                only below this path prefix
throttle.next_wait                their Retry-After
throttle.status                   409 or 429
throttle.retry_after              seconds, fraction, date, missing
throttle.body                     body of a throttle answer; {wait}: the seconds, with decimals
throttle.token_calls              throttle /api/token too
transport.accept                  serve, close, reset, stall, nonsense
transport.idle_close              close idle connections after this; null: never
transport.requests_per_connection close after that many; null: no limit
transport.announce_close          say Connection: close with the last answer
transport.latency                 delay of every answer
transport.jitter                  further delay, random up to this
transport.date                    send Date
transport.date_skew               seconds by which Date is wrong
transport.headers                 [[\"Name\", \"value\"]] on every answer
transport.log_limit               requests kept in the log
faults                            [{\"path\", \"method\", \"grant\", \"skip\", \"times\", \"chance\",
                                  \"executes\", \"delay\", \"jitter\", \"deed\"}]; a deed is one of
  pass, hang, close, close_unread, reset, reset_unread, chunked, until_close, close_after,
  malformed_head, double_length, length_and_chunked, switch_protocols, early_hints, login_page,
  blocked, gzip, trailers, empty, nonsense, business_failure, business_error, action_failed,
  conflict, invalid,
  {\"answer\": {\"status\": N, \"headers\": [], \"body\": \"\"}}, {\"answer_unread\": {\"status\": N}},
  {\"headers\": [[\"Name\", \"value\"]]}, {\"slow_body\": {\"chunk\": N, \"pause\": \"1s\"}},
  {\"truncate\": {\"after\": N}}, {\"truncate_chunked\": {\"after\": N}},
  {\"reset_in_body\": {\"after\": N}}, {\"raw\": \"…\"}, {\"redirect\": \"…\"}, {\"html_error\": N},
  {\"huge\": N}
";

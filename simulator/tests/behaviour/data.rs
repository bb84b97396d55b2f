//! Lists, records, writes, commands and downloads.

use nexudus_simulator::{Simulator, pattern_byte};
use serde_json::json;

use crate::client::{Answer, Connection, access, bearer, get};

struct Client {
    simulator: Simulator,
    token: String,
}

impl Client {
    fn new() -> Self {
        let simulator = Simulator::start().unwrap();
        let token = access(&simulator);
        Self { simulator, token }
    }

    fn get(&self, target: &str) -> Answer {
        get(&self.simulator, target, &self.token)
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        let headers = bearer(&self.token) + "Content-Type: application/json\r\n";
        crate::client::ask(&self.simulator, method, target, &headers, body)
    }
}

#[test]
fn lists_come_in_pages_with_the_exact_envelope() {
    let client = Client::new();

    let first = client.get("/api/spaces/coworkers").json();
    let last = client.get("/api/Spaces/Coworkers/?page=2&size=100&orderBy=FullName&dir=-1").json();

    assert_eq!(first["Records"].as_array().unwrap().len(), 25);
    assert_eq!(first["TotalItems"], 137);
    assert_eq!((&first["TotalPages"], &first["HasNextPage"]), (&json!(6), &json!(true)));
    assert_eq!(last["Records"].as_array().unwrap().len(), 37);
    assert_eq!((&last["FirstItem"], &last["LastItem"]), (&json!(101), &json!(137)));
    assert_eq!((&last["CurrentSortDirection"], &last["HasNextPage"]), (&json!(-1), &json!(false)));
    assert_eq!(first.as_object().unwrap().len(), 13);
}

#[test]
fn raw_brackets_get_a_batch() {
    let client = Client::new();
    let all = client.get("/api/billing/charges?size=1000").json();
    let (one, two) = (&all["Records"][0]["Id"], &all["Records"][1]["Id"]);

    let target = format!("/api/billing/charges/?id=[{one},{two}]");
    let batch = client.get(&target).json();

    assert_eq!(batch["TotalItems"], 2);
    assert_eq!(client.simulator.requests().last().unwrap().target, target);
}

#[test]
fn a_record_is_created_changed_and_deleted_once_each() {
    let client = Client::new();

    let created = client.ask("POST", "/api/spaces/resources", r#"{"Name":"Attic"}"#).json();
    let id = created["Value"]["Id"].as_u64().unwrap();
    let target = format!("/api/spaces/resources/{id}");
    let changed =
        client.ask("PUT", "/api/spaces/resources", &format!(r#"{{"Id":{id},"Name":"Loft"}}"#));
    let read = client.get(&target).json();
    let deleted = client.ask("DELETE", &target, r#"{"cancellationReason":"none"}"#);

    assert_eq!((&created["Status"], &created["WasSuccessful"]), (&json!(200), &json!(true)));
    assert_eq!(changed.status, 200);
    assert_eq!(read["Name"], "Loft");
    assert_eq!(deleted.status, 200);
    assert_eq!(client.get(&target).status, 404);
    let writes = client.simulator.executed_writes();
    assert_eq!(
        writes.iter().map(|w| w.method.as_str()).collect::<Vec<_>>(),
        ["POST", "PUT", "DELETE"]
    );
    assert_eq!(writes[2].text(), r#"{"cancellationReason":"none"}"#);
}

#[test]
fn writes_fail_in_each_of_the_known_ways() {
    let client = Client::new();

    let invalid = client.ask("POST", "/api/spaces/resources", "{}");
    let failed = client.ask(
        "POST",
        "/api/spaces/bookings",
        r#"{"ResourceId":1,"FromTime":"2026-01-01T10:00","ToTime":"2026-01-01T09:00"}"#,
    );
    let error = client.ask("DELETE", "/api/sys/businesses/1400000010", "");

    assert_eq!(invalid.status, 400);
    assert_eq!(invalid.json()["Errors"][0]["PropertyName"], "Name");
    assert_eq!((failed.status, &failed.json()["WasSuccessful"]), (200, &json!(false)));
    assert_eq!((error.status, &error.json()["Status"]), (500, &json!(500)));
    assert_eq!(
        client.ask("POST", "/en/basket/CreateInvoice", "").header("content-length"),
        Some("0")
    );
    assert_eq!(client.ask("POST", "/api/public/visitors", "[{},{}]").status, 200);
}

#[test]
fn a_put_is_the_whole_record_and_a_patch_a_part_of_it() {
    let client = Client::new();
    let target = "/api/spaces/resources/1400120000";

    let part = client.ask("PUT", target, r#"{"Allocation":3}"#);
    let patched = client.ask("PATCH", target, r#"{"Allocation":3}"#);
    let whole = client.ask("PUT", target, r#"{"Name":"Loft","Allocation":4}"#);

    assert_eq!(part.status, 400);
    assert_eq!(part.json()["Errors"][0]["PropertyName"], "Name");
    assert_eq!((patched.status, whole.status), (200, 200));
    assert_eq!(client.get(target).json()["Allocation"], 4);
}

#[test]
fn coworkers_are_deleted_by_a_command_alone() {
    let client = Client::new();
    let target = "/api/spaces/coworkers/1400100000";

    let refused = client.ask("DELETE", target, "");
    let order = r#"{"Ids":[1400100000],"Key":"COWORKER_DELETE","Parameters":[]}"#;
    let deleted = client.ask("POST", "/api/spaces/coworkers/runcommand", order);

    assert_eq!((refused.status, deleted.status), (405, 200));
    assert_eq!(client.get(target).status, 404);
}

#[test]
fn a_day_may_have_a_limit_of_coworkers() {
    let client = Client::new();
    client.simulator.set(|settings| settings.access.coworkers_per_day = Some(1));
    let create = || client.ask("POST", "/api/spaces/coworkers", r#"{"FullName":"Ada"}"#);

    assert_eq!(create().status, 200);
    let refused = create();
    assert_eq!((refused.status, refused.text().as_str()), (401, "Access Denied"));
    client.simulator.advance(std::time::Duration::from_secs(86_400));
    assert_eq!(create().status, 200);
}

#[test]
fn a_command_leads_to_a_download() {
    let client = Client::new();

    let order = r#"{"Ids":[1],"Key":"COWORKER_INVOICE_PRINT","Parameters":[]}"#;
    let reply = client.ask("POST", "/api/billing/coworkerInvoices/runCommand", order).json();
    let url = reply["RedirectURL"].as_str().unwrap();
    let file = client.get(&format!("{url}&bytes=100000"));

    assert!(url.starts_with("/ContentDownload/") && url.contains(' '));
    assert_eq!(file.header("content-length"), Some("100000"));
    assert!(file.body.iter().enumerate().all(|(at, byte)| *byte == pattern_byte(at as u64)));
    let chunked = client.get("/ContentDownload/x?bytes=70000&chunked=1");
    assert_eq!((chunked.body.len(), chunked.header("content-length")), (70_000, None));
}

#[test]
fn a_command_deletes_what_delete_does() {
    let client = Client::new();
    let listed = || client.get("/api/spaces/coworkers?size=1").json();
    let before = listed();
    let id = &before["Records"][0]["Id"];

    let order = json!({"ids": [id], "KEY": "coworker_delete"}).to_string();
    assert_eq!(client.ask("POST", "/api/spaces/coworkers/runCommand", &order).status, 200);

    assert_ne!(&listed()["Records"][0]["Id"], id);
    assert_eq!(listed()["TotalItems"], before["TotalItems"].as_u64().unwrap() - 1);
}

#[test]
fn refresh_tokens_are_listed_and_can_be_deleted() {
    let client = Client::new();
    let listed = client.get("/api/sys/refreshtokens").json();
    assert_eq!(listed["Records"][0]["ClientId"], "test");

    let target = format!("/api/sys/refreshtokens/{}", listed["Records"][0]["Id"]);
    client.ask("DELETE", &target, "");

    assert!(client.simulator.live_refresh_tokens().is_empty());
}

#[test]
fn users_are_the_accounts() {
    let client = Client::new();
    let id = &client.get("/api/sys/users").json()["Records"][0]["Id"];

    let minted = client.get(&format!("/api/sys/users/{id}/token/refresh")).json();
    let wrong = client.ask("POST", "/api/sys/users/validate", r#"{"Email":"a","Password":"b"}"#);

    assert!(minted["Value"].as_str().unwrap().contains("simulated-portal-token-"));
    assert_eq!(wrong.status, 500);
}

#[test]
fn an_echo_says_exactly_what_arrived() {
    let client = Client::new();
    let mut connection = Connection::to(&client.simulator);

    connection.send(format!(
        "POST /_echo/%2e/[x]?a=[1,2] HTTP/1.1\r\nHOST: localhost\r\nx-B: 1\r\nX-a: 2\r\nx-B: 3\r\n\
         {}Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n4;x=y\r\n6789\r\n0\r\n\r\n",
        bearer(&client.token)
    ));
    let echo = connection.read("POST").json();

    assert_eq!(echo["target"], "/_echo/%2e/[x]?a=[1,2]");
    assert_eq!(echo["headers"][0], json!(["HOST", "localhost"]));
    assert_eq!(echo["headers"][1], json!(["x-B", "1"]));
    assert_eq!(echo["headers"][3], json!(["x-B", "3"]));
    assert_eq!((&echo["body"], &echo["body_length"]), (&json!("123456789"), &json!(9)));
    assert_eq!(echo["body_crc32"], 0xCBF4_3926_u32);
}

#[test]
fn tenants_are_looked_up_without_a_token() {
    let client = Client::new();
    let target = "/api/sys/businesses/getByHost?host=example";
    let found = crate::client::ask(&client.simulator, "GET", target, "", "").json();

    assert_eq!(found["Id"], 1_400_000_010);
}

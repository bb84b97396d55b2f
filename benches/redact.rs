//! The time that redaction takes for each byte of JSON: `cargo bench --bench redact`.
//!
//! Real rules and real tokens, as a response of Nexudus meets them, in pieces of 16 KiB. Every record has
//! values of its own. The promises are 2 ns for a byte where nothing is
//! hidden, and 5 ns with six personal fields in a record, their tokens included. Time is that of this thread
//! on a processor; a figure is the median of its rounds, and the rounds of all figures take turns.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark reports")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{Origin, RedactMode};
use nexudus_proxy::redact::{Category, FieldRules, Redaction, Redactor, TableName, TokenVault};
use nix::time::{ClockId, clock_gettime};

fn main() {
    let vault = TokenVault::new(Clock::system());
    let redactor = Redactor::new(vault.clone(), FieldRules::default(), &Origin::nexudus());
    let client = |mode, can_resolve, name: &str| {
        redactor.redaction(mode, can_resolve, &TableName::Client(name.to_owned()))
    };
    let table = client(RedactMode::Table, false, "table");
    let resolving = client(RedactMode::Table, true, "resolve");
    let all = client(RedactMode::All, false, "all");
    let (resources, coworkers) = (list(resource), list(coworker));
    let mut cases = [
        Case::new("nothing hidden", &table, "/api/spaces/resources", &resources, Some(2.0)),
        Case::new("six fields a record", &table, "/api/spaces/coworkers", &coworkers, Some(5.0)),
        Case::new("six, with --resolve", &resolving, "/api/spaces/coworkers", &coworkers, None),
        Case::new("six, --redact=all", &all, "/api/spaces/coworkers", &coworkers, None),
    ];
    let (mut tokens, mut records) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        cases.iter_mut().for_each(Case::round);
        tokens.push(token_time(&vault));
        records.push(record_time(&table));
    }
    for case in &mut cases {
        case.print();
    }
    println!("one token               {:>6.0} ns", median(&mut tokens));
    println!("one record, by itself   {:>6.0} ns", median(&mut records));
}

/// A list and the client that reads it.
struct Case<'a> {
    name: &'static str,
    redaction: &'a Arc<Redaction>,
    path: &'static str,
    text: &'a str,
    goal: Option<f64>,
    rounds: Vec<f64>,
    replaced: u64,
}

impl<'a> Case<'a> {
    fn new(
        name: &'static str,
        redaction: &'a Arc<Redaction>,
        path: &'static str,
        text: &'a str,
        goal: Option<f64>,
    ) -> Self {
        Self { name, redaction, path, text, goal, rounds: vec![], replaced: 0 }
    }

    /// Reads the list once.
    fn round(&mut self) {
        let kind = self.redaction.record_kind(self.path).unwrap();
        let begin = cpu_nanos();
        let mut rewriter = self.redaction.rewriter(kind, false);
        let mut out = Vec::new();
        for piece in self.text.as_bytes().chunks(16 << 10) {
            out.clear();
            rewriter.write(piece, &mut out).unwrap();
            black_box(&out);
        }
        rewriter.finish(&mut out).unwrap();
        self.rounds.push((cpu_nanos() - begin) / self.text.len() as f64);
        self.replaced = rewriter.rules().replaced();
    }

    fn print(&mut self) {
        let goal = self.goal.map_or_else(String::new, |goal| format!(", goal {goal}"));
        let (records, length) = (RECORDS as f64, self.text.len() as f64);
        println!(
            "{:<22} {:>7.2} ns/byte{goal}  ({:.1} MB, {:.0} bytes and {:.1} replaced values a record)",
            self.name,
            median(&mut self.rounds),
            length / 1e6,
            length / records,
            self.replaced as f64 / records,
        );
    }
}

/// Returns the nanoseconds of one token of a value that is not remembered.
fn token_time(vault: &TokenVault) -> f64 {
    const TOKENS: u32 = 20_000;
    let table = vault.table(&TableName::Client("token".to_owned()));
    let values: Vec<_> = (0..TOKENS).map(|nth| format!("person-{nth}@example.com")).collect();
    let mut out = String::new();
    let begin = cpu_nanos();
    for value in &values {
        out.clear();
        table.write_token(Category::Email, value, false, &mut out);
        black_box(&out);
    }
    (cpu_nanos() - begin) / f64::from(TOKENS)
}

/// Returns the nanoseconds of a response with one record.
fn record_time(redaction: &Arc<Redaction>) -> f64 {
    const RESPONSES: u32 = 1_000;
    let text = coworker(1);
    let begin = cpu_nanos();
    for _ in 0..RESPONSES {
        let kind = redaction.record_kind("/api/spaces/coworkers/1").unwrap();
        let (mut rewriter, mut out) = (redaction.rewriter(kind, false), Vec::new());
        rewriter.write(text.as_bytes(), &mut out).unwrap();
        rewriter.finish(&mut out).unwrap();
        black_box(&out);
    }
    (cpu_nanos() - begin) / f64::from(RESPONSES)
}

fn list(record: fn(usize) -> String) -> String {
    let mut text = r#"{"Records":["#.to_owned();
    for nth in 0..RECORDS {
        let comma = if nth == 0 { "" } else { "," };
        write!(text, "{comma}{}", record(nth)).unwrap();
    }
    text.push_str(r#"],"CurrentPage":1,"PageSize":10000,"TotalItems":10000,"HasNextPage":false}"#);
    text
}

/// A room: names, texts, dates, numbers and identifiers, none of them personal.
fn resource(nth: usize) -> String {
    format!(
        r#"{{"BusinessId":1415125,"Name":"Meeting room {nth}","ResourceTypeId":{nth},"ResourceTypeName":"Meeting room","Description":"A quiet room by the garden with a screen, a whiteboard and tea for eight","Visible":true,"RequiresConfirmation":false,"Allocation":{},"EmailConfirmationContent":null,"Projector":true,"Internet":true,"Tariffs":null,"Color":"red","Price":12.5,"CurrencyCode":"GBP","TimeZone":"GMT Standard Time","NextOpening":"2026-01-01T00:00:00Z","Archived":false,"UtcOffset":60,"Floor":"Second floor","Id":{},"UniqueId":"5a9df2e1-7a11-4d94-a1f2-{:012x}","CreatedOn":"2025-03-04T10:11:12Z","UpdatedOn":"2025-11-04T10:11:12Z","IsNew":false,"SystemId":null}}"#,
        nth % 12,
        1_400_100_000 + nth,
        nth,
    )
}

/// A member of a coworking space, with six personal values.
fn coworker(nth: usize) -> String {
    format!(
        r#"{{"BusinessId":1415125,"BusinessName":"Demo","CoworkerType":1,"FullName":"Ada Lovelace {nth}","Email":"ada.{nth}@example.com","Active":true,"MobilePhone":"+44 7700 9{nth:05}","Address":"{nth} St James's Square","CityName":"Town {nth}","Notes":"Likes desk {nth} by the window","RegistrationDate":"2025-03-04T10:11:12Z","TariffName":"Hot desk","NextInvoice":"2026-01-01T00:00:00Z","Archived":false,"UtcOffset":60,"TeamIds":null,"Id":{},"UniqueId":"5a9df2e1-7a11-4d94-a1f2-{:012x}","CreatedOn":"2025-03-04T10:11:12Z","UpdatedOn":"2025-11-04T10:11:12Z","IsNew":false,"SystemId":null}}"#,
        1_400_100_000 + nth,
        nth,
    )
}

/// Returns the nanoseconds that this thread has had on a processor: other programs count for nothing.
fn cpu_nanos() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A key remembers 100,000 values before it begins to forget: these have 60,000.
const RECORDS: usize = 10_000;

const ROUNDS: usize = 15;

//! Time per byte of JSON, where nothing is hidden and where six fields of each record are.
//! `cargo bench --bench redact` of the program has its real rules and tokens.
//!
//! `cargo bench -p json-redactor` prints it. The rules look names up in a set, as real ones do; what
//! they put in place of a value is a constant, so that the time is that of the rewriter.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use json_redactor::{Action, Outcome, Rewriter, Rules, Scope, Summary};

struct Names(HashSet<&'static str>);

impl Rules for Names {
    fn root(&self) -> Scope {
        Scope { action: Action::Scan, context: 0 }
    }

    fn member(&mut self, parent: Scope, key: &str) -> Scope {
        let is_hidden = self.0.contains(key.to_lowercase().as_str());
        if is_hidden { Scope { action: Action::Replace(0), ..parent } } else { parent }
    }

    fn rename(&mut self, _: Scope, _: &str, _: &mut String) -> bool {
        false
    }

    fn is_suspect(&self, _: Scope, summary: Summary) -> bool {
        summary.has_at()
    }

    fn string(&mut self, _: Scope, _: &str, out: &mut String) -> Outcome {
        out.push_str("«PII:EMAIL:3f9a1c20»");
        Outcome::Text
    }

    fn opaque(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome {
        self.string(scope, text, out)
    }

    fn embedded(&mut self, scope: Scope) -> Scope {
        scope
    }

    fn keeps_number(&self, _: Scope) -> bool {
        true
    }
}

fn main() {
    let record = r#"{"BusinessId":1415125,"BusinessName":"Demo","CoworkerType":1,"FullName":"Ada Lovelace","Email":"ada@example.com","Active":true,"MobilePhone":"+44 7700 900123","Address":"12 St James's Square","CityName":"London","Notes":"Likes the desk by the window","RegistrationDate":"2025-03-04T10:11:12Z","TariffName":"Hot desk","NextInvoice":"2026-01-01T00:00:00Z","Archived":false,"UtcOffset":60,"TeamIds":null,"Id":1400100137,"UniqueId":"5a9df2e1-7a11-4d94-a1f2-3d6f0a4a1b7c","CreatedOn":"2025-03-04T10:11:12Z","UpdatedOn":"2025-11-04T10:11:12Z","IsNew":false,"SystemId":null},"#;
    let plain = record.replace("ada@example.com", "nothing here at all");
    let hidden = ["fullname", "email", "mobilephone", "address", "cityname", "notes"];
    for (name, record, names) in
        [("no field hidden", plain.as_str(), &[][..]), ("six fields hidden", record, &hidden)]
    {
        let text = format!("[{}0]", record.repeat(20_000));
        let best = (0..7).map(|_| measure(&text, names)).fold(f64::MAX, f64::min);
        println!("{name}: {best:.2} ns/byte of {} MB", text.len() >> 20);
    }
}

fn measure(text: &str, names: &[&'static str]) -> f64 {
    let rules = Names(names.iter().copied().collect());
    let (mut rewriter, mut out) = (Rewriter::new(rules), Vec::new());
    let (start, begin) = (Instant::now(), cpu_time());
    for piece in text.as_bytes().chunks(16 << 10) {
        out.clear();
        rewriter.write(piece, &mut out).expect("the text is JSON");
        black_box(&out);
    }
    rewriter.finish(&mut out).expect("the text is whole");
    let wall = start.elapsed().as_secs_f64() * 1e9;
    // On a busy machine the time on a processor says more than the time on the wall.
    let spent = begin.and_then(|begin| Some(cpu_time()? - begin)).unwrap_or(wall);
    spent / text.len() as f64
}

/// Returns the nanoseconds that this thread has run, where the system says so.
fn cpu_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

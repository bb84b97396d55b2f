//! Invented records behind the lists: the same for the same seed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::clock::format_utc;
use crate::rng::Rng;

/// A record: the fields of one row.
pub(crate) type Record = Map<String, Value>;

/// All records, made when first asked for.
#[derive(Debug)]
pub(crate) struct Store {
    seed: u64,
    tables: BTreeMap<String, Table>,
    /// Temporary downloads made by commands.
    pub(crate) downloads: u64,
}

/// The records of one entity.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<u64, Record>,
    next: u64,
}

impl Table {
    pub(crate) fn add(&mut self, mut record: Record) -> u64 {
        let id = self.next;
        self.next += 1;
        record.insert("Id".to_owned(), id.into());
        self.rows.insert(id, record);
        id
    }
}

/// An entity: its path, required fields and records.
struct EntityKind {
    path: &'static str,
    count: u64,
    required: &'static [&'static str],
    fields: fn(&mut Rng, u64) -> Value,
}

const KINDS: &[EntityKind] = &[
    EntityKind { path: "spaces/coworkers", count: 137, required: &["FullName"], fields: coworker },
    EntityKind { path: "spaces/bookings", count: 86, required: &["ResourceId"], fields: booking },
    EntityKind { path: "spaces/resources", count: 12, required: &["Name"], fields: resource },
    EntityKind { path: "spaces/products", count: 24, required: &["Name"], fields: product },
    EntityKind { path: "spaces/visitors", count: 31, required: &["FullName"], fields: visitor },
    EntityKind {
        path: "billing/coworkerinvoices",
        count: 90,
        required: &["CoworkerId"],
        fields: invoice,
    },
    EntityKind { path: "billing/charges", count: 60, required: &["CoworkerId"], fields: charge },
    EntityKind { path: "billing/tariffs", count: 6, required: &["Name"], fields: tariff },
    EntityKind { path: "sys/businesses", count: 2, required: &["Name"], fields: business },
];

impl Store {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, tables: BTreeMap::new(), downloads: 0 }
    }

    /// Returns the records of `area/entity` (lower case).
    pub(crate) fn table(&mut self, path: &str) -> &mut Table {
        let seed = self.seed;
        self.tables.entry(path.to_owned()).or_insert_with(|| fill(path, seed))
    }

    /// Returns the field a new record lacks.
    pub(crate) fn missing(path: &str, record: &Record) -> Option<&'static str> {
        let kind = KINDS.iter().find(|kind| kind.path == path);
        let required = kind.map_or(&["Name"] as &[_], |kind| kind.required);
        let given = |field: &&str| {
            record.get(*field).is_some_and(|value| !value.is_null() && value.as_str() != Some(""))
        };
        required.iter().find(|field| !given(field)).copied()
    }
}

fn fill(path: &str, seed: u64) -> Table {
    let kind = KINDS.iter().position(|kind| kind.path == path);
    let (count, fields) = kind.map_or((3, plain as fn(&mut Rng, u64) -> Value), |index| {
        (KINDS[index].count, KINDS[index].fields)
    });
    let mut rng =
        Rng::from_seed(seed ^ path.bytes().fold(7, |sum, b| sum * 31 % 65_521 + u64::from(b)));
    let base = if path == "sys/businesses" {
        1_400_000_010
    } else {
        1_400_100_000 + kind.map_or(99, |index| index as u64) * 10_000
    };
    let mut table = Table { rows: BTreeMap::new(), next: base };
    for index in 0..count {
        let changed = FIRST_RECORD_AT + rng.below(YEAR);
        let mut record = json!({
            "UniqueId": rng.guid(), "CreatedOn": format_utc(FIRST_RECORD_AT - rng.below(YEAR)),
            "UpdatedOn": format_utc(changed), "UpdatedBy": "ada@example.test",
            "IsNew": false, "SystemId": null, "LocalizationDetails": null,
        });
        let own = fields(&mut rng, index);
        if let (Some(record), Some(own)) = (record.as_object_mut(), own.as_object()) {
            record.extend(own.clone());
            let name = ["FullName", "Name", "Description"].iter().find_map(|f| own.get(*f));
            record.insert("ToStringText".to_owned(), name.cloned().unwrap_or_default());
            table.add(std::mem::take(record));
        }
    }
    table
}

/// 2026-01-01, around which the invented year lies.
const FIRST_RECORD_AT: u64 = 1_767_225_600;
const YEAR: u64 = 365 * 86_400;

const FIRST: &[&str] = &[
    "Ada", "Alan", "Barbara", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Joan", "Karen",
    "Ken", "Leslie", "Margaret", "Niklaus", "Radia", "Sophie", "Tim", "Zoë",
];
const LAST: &[&str] = &[
    "Allen",
    "Backus",
    "Clarke",
    "Dijkstra",
    "Example",
    "García",
    "Hamilton",
    "Hopper",
    "Kay",
    "Lamport",
    "Liskov",
    "Lovelace",
    "Müller",
    "O'Neil",
    "Perlman",
    "Sparck Jones",
    "Wirth",
];

fn person(rng: &mut Rng, index: u64) -> (String, String) {
    let (first, last) = (rng.pick(FIRST), rng.pick(LAST));
    let plain = last.chars().filter(char::is_ascii_alphabetic).collect::<String>();
    let email = format!("{}.{}{index}@example.test", first.replace('ë', "e"), plain);
    (format!("{first} {last}"), email.to_ascii_lowercase())
}

fn coworker(rng: &mut Rng, index: u64) -> Value {
    let (name, email) = person(rng, index);
    json!({
        "FullName": name, "Email": email, "CoworkerType": 1 + rng.below(2),
        "Active": rng.below(10) > 0, "CompanyName": format!("{} Ltd", rng.pick(LAST)),
        "MobilePhone": format!("+44 7700 900{:03}", rng.below(1_000)),
        "InvoicingBusinessId": 1_400_000_010, "TariffName": rng.pick(TARIFFS),
        "CountryId": 1_221, "SimpleTimeZoneId": 2_023, "Notes": null,
    })
}

fn booking(rng: &mut Rng, index: u64) -> Value {
    let from = FIRST_RECORD_AT + rng.below(YEAR) / 1_800 * 1_800;
    let (name, _) = person(rng, index);
    json!({
        "ResourceId": 1_400_120_000 + rng.below(12), "ResourceName": rng.pick(ROOMS),
        "CoworkerId": 1_400_100_000 + rng.below(137), "CoworkerFullName": name,
        "FromTime": format_utc(from), "ToTime": format_utc(from + 1_800 * (1 + rng.below(6))),
        "Description": format!("Booking {}", index + 1), "Tentative": rng.below(8) == 0,
    })
}

fn resource(rng: &mut Rng, index: u64) -> Value {
    json!({
        "Name": format!("{} {}", rng.pick(ROOMS), index + 1), "BusinessId": 1_400_000_010,
        "Allocation": 1 + rng.below(20), "Visible": true, "ResourceTypeName": "Meeting room",
    })
}

fn product(rng: &mut Rng, index: u64) -> Value {
    let name = format!("{} {}", rng.pick(&["Coffee", "Locker", "Printing", "Parking"]), index + 1);
    json!({"Name": name, "Price": money(rng), "CurrencyCode": "GBP", "Archived": false})
}

fn visitor(rng: &mut Rng, index: u64) -> Value {
    let (name, email) = person(rng, index);
    json!({"FullName": name, "Email": email, "ExpectedArrival": format_utc(FIRST_RECORD_AT + rng.below(YEAR))})
}

fn invoice(rng: &mut Rng, index: u64) -> Value {
    let (name, _) = person(rng, index);
    json!({
        "InvoiceNumber": format!("INV-{:05}", index + 1), "CoworkerBillingName": name,
        "CoworkerId": 1_400_100_000 + rng.below(137), "TotalAmount": money(rng),
        "CurrencyCode": "GBP", "Paid": rng.below(3) > 0, "DueDate": format_utc(FIRST_RECORD_AT + rng.below(YEAR)),
    })
}

fn charge(rng: &mut Rng, index: u64) -> Value {
    json!({
        "Description": format!("Charge {}", index + 1), "TotalAmount": money(rng),
        "CoworkerId": 1_400_100_000 + rng.below(137), "Invoiced": rng.below(2) == 0,
    })
}

fn tariff(rng: &mut Rng, index: u64) -> Value {
    let name = TARIFFS.get(index as usize).copied().unwrap_or("Custom");
    json!({"Name": name, "Price": money(rng), "CurrencyCode": "GBP", "Visible": true})
}

fn business(_: &mut Rng, index: u64) -> Value {
    let name = if index == 0 { "Example Space" } else { "Example Space North" };
    let address = if index == 0 { "example" } else { "example-north" };
    json!({"Name": name, "WebAddress": address, "CurrencyCode": "GBP", "CountryId": 1_221})
}

fn plain(_: &mut Rng, index: u64) -> Value {
    json!({"Name": format!("Record {}", index + 1)})
}

fn money(rng: &mut Rng) -> f64 {
    rng.below(50_000) as f64 / 100.0
}

const ROOMS: &[&str] = &["Boardroom", "Focus booth", "Hot desk", "Studio", "Terrace"];
const TARIFFS: &[&str] =
    &["Day pass", "Hot desk", "Dedicated desk", "Virtual office", "Private office", "Team"];

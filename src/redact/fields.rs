//! The treatment of a field, by the kind of its record and its name, without regard to case.
//!
//! First come the tables (`official.txt`, `unlisted.txt`), then the rules for names (`names.rs`), then
//! the configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::category::Category;
use super::decisions::Decisions;
use super::entity::{self, Entity};
use super::names::{Treatment, by_name, normalize};
use super::tables;

/// The rules for fields, with those of the configuration.
#[derive(Debug, Default)]
pub struct FieldRules {
    hidden: Vec<FieldName>,
    kept: Vec<FieldName>,
    /// The records of `kept` that no table names, by the segments of their collections.
    kept_records: HashMap<String, Entity>,
    decisions: Decisions,
}

/// `Coworker.Notes`, or `Notes` of any record.
#[derive(Clone, Debug)]
struct FieldName {
    entity: Option<Entity>,
    name: String,
    /// The field as it is joined into other records: `coworkernotes`.
    joined: Option<String>,
}

impl FieldRules {
    /// Hides `fields` beside the tables, and lets `keep` stay where all texts are hidden.
    pub fn new(fields: &[String], keep: &[String]) -> Self {
        let mut kept_records = HashMap::new();
        let mut next = entity::count();
        let mut number = |record: &str| {
            let segments = entity::plurals(&normalize(record));
            let known = segments.iter().find_map(|segment| kept_records.get(segment).copied());
            if known.is_some() {
                return known;
            }
            next += 1;
            // No record has the last numbers: a field of one record too many is not kept.
            let number = Entity::try_from(next).ok().filter(|number| *number < entity::SEVERAL);
            let named = segments.into_iter().zip(number.into_iter().cycle());
            kept_records.extend(named);
            number.or(Some(Entity::MAX))
        };
        let kept = keep.iter().map(|text| FieldName::parse(text, &mut number)).collect();
        // A record that no table names may be one that is misspelt: its field is hidden in every
        // record.
        let hidden = fields.iter().map(|text| FieldName::parse(text, |_| None)).collect();
        Self { hidden, kept, kept_records, decisions: Decisions::default() }
    }

    /// Returns what was decided under these rules.
    pub(super) fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// Returns the entity of a segment where fields are kept by their records.
    pub(super) fn kept_record(&self, segment: &str) -> Entity {
        match entity::of_segment(segment) {
            entity::UNKNOWN => {
                let kept = self.kept_records.get(&segment.to_ascii_lowercase());
                kept.copied().unwrap_or(entity::UNKNOWN)
            }
            known => known,
        }
    }

    /// Says whether this field stays where all texts are hidden; the name is in lower case.
    pub(super) fn keeps(&self, entity: Entity, name: &str) -> bool {
        self.kept.iter().any(|it| it.is(entity, name))
    }

    /// Returns what happens to a field; the name is in lower case.
    pub(super) fn treatment(&self, entity: Entity, name: &str) -> Treatment {
        let is_listed = usize::from(entity) <= entity::count();
        let entity = if is_listed { entity } else { entity::UNKNOWN };
        let listed = TABLE.get(&entity).and_then(|fields| fields.get(name)).copied();
        let found = listed.or_else(|| by_name(entity, name)).or_else(|| joined(name));
        let is_hidden = |it: &FieldName| it.is(entity, name) || it.is_joined(name);
        match found {
            Some(treatment) => treatment,
            None if self.hidden.iter().any(is_hidden) => Treatment::Hide(Category::Bio),
            None => Treatment::Open,
        }
    }
}

impl FieldName {
    fn parse(text: &str, number: impl FnOnce(&str) -> Option<Entity>) -> Self {
        let (record, name) = text.rsplit_once('.').unwrap_or(("", text));
        let (is_any, name) = (record.is_empty() || record == "*", normalize(name));
        let entity = match entity::of_name(record) {
            _ if is_any => None,
            entity::UNKNOWN => number(record),
            known => Some(known),
        };
        let joined = (!is_any).then(|| format!("{}{name}", normalize(record)));
        Self { entity, name, joined }
    }

    fn is(&self, entity: Entity, name: &str) -> bool {
        self.entity.is_none_or(|it| it == entity) && self.name == name
    }

    fn is_joined(&self, name: &str) -> bool {
        self.joined.as_deref().is_some_and(|joined| name.ends_with(joined))
    }
}

/// Returns what happens to a field that a table names for another record, joined into this one:
/// `CoworkerPosition`. The way to the record may be longer: `BookingCoworkerPosition`.
fn joined(name: &str) -> Option<Treatment> {
    JOINED.iter().find_map(|(field, records)| {
        let way = name.strip_suffix(field.as_str())?;
        let record = records.iter().find(|(record, _)| way.ends_with(record.as_str()));
        record.map(|(_, treatment)| *treatment)
    })
}

/// The fields of the tables that no rule for names hides where they are joined: each with the names
/// of its records.
static JOINED: LazyLock<Vec<JoinedField>> = LazyLock::new(|| {
    let mut fields: BTreeMap<String, Vec<(String, Treatment)>> = BTreeMap::new();
    for mut words in tables::lines() {
        let records = entity::names(words.next().unwrap_or_default());
        let word = words.next().unwrap_or_default();
        for field in words.map(str::to_lowercase) {
            let treatment = listed(word, &field);
            let is_open = |record: &&String| {
                // Whatever stands in front of it.
                let by_name = by_name(entity::UNKNOWN, &format!("way{record}{field}"));
                treatment != Treatment::Open && by_name.is_none()
            };
            let records: Vec<_> = records.iter().filter(is_open).cloned().collect();
            if !records.is_empty() {
                let known = fields.entry(field).or_default();
                known.extend(records.into_iter().map(|record| (record, treatment)));
            }
        }
    }
    fields.into_iter().collect()
});

/// The name of a field, and the names of the records that have it.
type JoinedField = (String, Vec<(String, Treatment)>);

static TABLE: LazyLock<HashMap<Entity, HashMap<String, Treatment>>> = LazyLock::new(|| {
    let mut table: HashMap<Entity, HashMap<String, Treatment>> = HashMap::new();
    for mut words in tables::lines() {
        let fields = table.entry(entity::of_segment(words.next().unwrap_or_default())).or_default();
        let word = words.next().unwrap_or_default();
        for name in words.map(str::to_lowercase) {
            let treatment = listed(word, &name);
            fields.insert(name, treatment);
        }
    }
    table
});

fn listed(word: &str, name: &str) -> Treatment {
    match (word, Category::from_word(word)) {
        ("PERSON", _) => Treatment::Person,
        ("JSON", _) => Treatment::Json,
        ("DROP", _) | (_, Some(Category::Dob)) => Treatment::Drop,
        // The last mailing of a business: a date that the table lists by mistake.
        _ if name == "lastwelcomeemail" => Treatment::Open,
        (_, Some(category)) if name == "state" => Treatment::HideText(category),
        (_, Some(category)) => Treatment::Hide(category),
        (_, None) => Treatment::Hide(Category::Bio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn treatment(path: &str, name: &str) -> Treatment {
        let entity = entity::of_segment(path.rsplit('/').next().unwrap_or_default());
        FieldRules::default().treatment(entity, &normalize(name))
    }

    #[test]
    fn each_official_field_is_hidden_on_its_record_and_by_its_name_alone() {
        let mut fields = 0;
        for line in tables::OFFICIAL.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let (record, category) = (words.next().unwrap(), words.next().unwrap());
            for name in words.filter(|name| *name != "LastWelcomeEmail") {
                fields += 1;
                let category = Category::from_word(category).unwrap();
                let expected = if category == Category::Dob {
                    Treatment::Drop
                } else if name == "State" {
                    Treatment::HideText(category)
                } else {
                    Treatment::Hide(category)
                };
                assert_eq!(treatment(&format!("/api/x/{record}/1"), name), expected, "{line}");
                assert_eq!(treatment("/api/x/other", name), expected, "{name} anywhere");
            }
        }
        assert_eq!(fields, 261);
    }

    #[test]
    fn what_the_official_table_leaves_out_is_hidden_too() {
        for (record, name) in [
            ("resources", "ToStringText"),
            ("resources", "UpdatedBy"),
            ("coworkers", "GuessedFirstName"),
            ("coworkers", "GuessedLastNameForInvoice"),
            ("coworkers", "Custom1"),
            ("coworkers", "Custom30"),
            ("bookings", "InternalNotes"),
            ("visitors", "PhoneNumber"),
            ("x", "BillToTaxIDNumber"),
            ("coworkeridentitychecks", "IdentityDocumentNumber"),
            ("audittrailentries", "OldValue"),
            ("helpdeskmessages", "MessageText"),
            ("coworkers", "AccessPincode"),
            ("users", "PasswordSalt"),
            ("x", "CoworkerRegularPaymentContractNumber"),
            ("x", "coworkeremailaddress"),
            ("x", "taxIdNumber"),
            ("newslettersubscribers", "Name"),
            ("formpageanswers", "Value"),
            ("x", "Token"),
            ("coworkers", "CoworkerContractCoworkerAddress"),
            ("coworkers", "Latitude"),
            ("x", "PassportNumber"),
            ("coworkers", "VisitorPassportNumber"),
            ("x", "Iban"),
            ("x", "BankIBAN"),
            ("coworkers", "Birthday"),
            ("visitors", "BirthDate"),
            ("x", "Nationality"),
            ("bookings", "ContactName"),
            ("bookings", "GuestName"),
            ("x", "AssignedTo"),
            ("helpdeskmessages", "AssignedTo"),
        ] {
            assert_ne!(treatment(record, name), Treatment::Open, "{record} {name}");
        }
    }

    #[test]
    fn each_field_of_a_table_is_hidden_where_it_is_joined() {
        let mut fields = 0;
        for mut words in tables::lines() {
            let (record, _) = (words.next().unwrap(), words.next());
            for name in words {
                if treatment(record, name) == Treatment::Open {
                    continue;
                }
                for way in entity::names(record) {
                    for name in [
                        format!("{way}{name}"),
                        format!("{way}_{name}"),
                        format!("Booking_{way}_{name}"),
                        format!("{way}.{name}").to_uppercase(),
                    ] {
                        for other in ["bookings", "coworkers", "resources"] {
                            assert_ne!(treatment(other, &name), Treatment::Open, "{other} {name}");
                        }
                        fields += 1;
                    }
                }
            }
        }
        assert!(fields > 2_000, "{fields}");
    }

    #[test]
    fn what_only_looks_personal_stays() {
        for (record, name) in [
            ("products", "Name"),
            ("resources", "Description"),
            ("coworkers", "TariffName"),
            ("x", "Id"),
            ("coworkers", "EmailAccountId"),
            ("x", "EmailQueueItemId"),
            ("x", "WebAddress"),
            ("x", "Message"),
            ("x", "GoogleCalendarId2"),
            ("x", "TaxRate"),
            ("x", "PassportCardNumber"),
            ("x", "TicketNotes"),
            ("coworkers", "BusinessName"),
            ("locations", "Latitude"),
            ("x", "InvoiceState"),
            ("x", "Value"),
            ("businesses", "LastWelcomeEmail"),
            ("x", "FacebookPage"),
            ("x", "IdentityDocumentType"),
            ("resources", "Custom"),
            ("x", "CustomFieldId"),
            ("x", "LanguageToken"),
        ] {
            assert_eq!(treatment(record, name), Treatment::Open, "{record} {name}");
        }
    }

    #[test]
    fn the_configuration_adds_and_keeps_fields() {
        let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let rules = FieldRules::new(
            &names(&["Resource.Name", "coworker.TariffName", "Shelf"]),
            &names(&["Coworker.FullName", "Resource.Name", "desks.Size", "TariffName"]),
        );
        let coworkers = entity::of_segment("coworkers");
        let hidden = Treatment::Hide(Category::Bio);
        assert_eq!(rules.treatment(coworkers, "tariffname"), hidden);
        assert_eq!(rules.treatment(entity::UNKNOWN, "tariffname"), Treatment::Open);
        assert_eq!(rules.treatment(entity::UNKNOWN, "bookingcoworkertariffname"), hidden);
        assert_eq!(rules.treatment(entity::UNKNOWN, "name"), hidden);
        assert_eq!(rules.treatment(coworkers, "shelf"), hidden);
        assert!(rules.keeps(coworkers, "fullname") && rules.keeps(entity::UNKNOWN, "tariffname"));
        assert!(!rules.keeps(entity::UNKNOWN, "fullname") && !rules.keeps(coworkers, "name"));
        for (segment, kept) in [
            ("resources", "name"),
            ("Resource", "name"),
            ("desks", "size"),
            ("coworkers", "fullname"),
        ] {
            for field in ["name", "size", "fullname"] {
                let is_kept = rules.keeps(rules.kept_record(segment), field);
                assert_eq!(is_kept, field == kept, "{segment} {field}");
            }
        }
        assert_eq!(rules.kept_record("products"), entity::UNKNOWN);
    }

    #[test]
    fn a_record_too_many_is_not_kept() {
        let keep: Vec<_> = (0..500).map(|nth| format!("Thing{nth}.Name")).collect();
        let rules = FieldRules::new(&[], &keep);
        assert!(rules.keeps(rules.kept_record("thing0s"), "name"));
        assert!(!rules.keeps(rules.kept_record("thing499s"), "name"));
    }
}

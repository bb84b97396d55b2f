//! The treatment of a field, by the kind of its record and its name, without regard to case.
//!
//! First come the tables (`official.txt`, `unlisted.txt`), then the rules for names (`names.rs`), then
//! the configuration.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::category::Category;
use super::entity::{self, Entity};
use super::names::{Treatment, by_name, normalize};
use super::tables;

/// The rules for fields, with those of the configuration.
#[derive(Debug, Default)]
pub struct FieldRules {
    hidden: Vec<FieldName>,
    kept: Vec<FieldName>,
}

/// `Coworker.Notes`, or `Notes` of any record.
#[derive(Clone, Debug)]
struct FieldName {
    entity: Option<Entity>,
    name: String,
}

impl FieldRules {
    /// Hides `fields` beside the tables, and lets `keep` stay where all texts are hidden.
    pub fn new(fields: &[String], keep: &[String]) -> Self {
        // A record that no table names has no number: its field is hidden in every record, and kept
        // in none.
        let hidden = fields.iter().map(|text| FieldName::parse(text, None)).collect();
        let kept = keep.iter().map(|text| FieldName::parse(text, Some(Entity::MAX))).collect();
        Self { hidden, kept }
    }

    /// Says whether this field stays where all texts are hidden; the name is in lower case.
    pub(super) fn keeps(&self, entity: Entity, name: &str) -> bool {
        self.kept.iter().any(|it| it.is(entity, name))
    }

    /// Returns what happens to a field; the name is in lower case.
    pub(super) fn treatment(&self, entity: Entity, name: &str) -> Treatment {
        let listed = TABLE.get(&entity).and_then(|fields| fields.get(name)).copied();
        let found = listed.or_else(|| by_name(entity, name));
        match found {
            Some(treatment) => treatment,
            None if self.hidden.iter().any(|it| it.is(entity, name)) => {
                Treatment::Hide(Category::Bio)
            }
            None => Treatment::Open,
        }
    }
}

impl FieldName {
    fn parse(text: &str, if_unknown: Option<Entity>) -> Self {
        let (record, name) = text.rsplit_once('.').unwrap_or(("", text));
        let entity = match entity::of_name(record) {
            _ if record.is_empty() || record == "*" => None,
            entity::UNKNOWN => if_unknown,
            known => Some(known),
        };
        Self { entity, name: normalize(name) }
    }

    fn is(&self, entity: Entity, name: &str) -> bool {
        self.entity.is_none_or(|it| it == entity) && self.name == name
    }
}

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
        FieldRules::default().treatment(entity::of_path(path), &normalize(name))
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
        ] {
            assert_ne!(treatment(record, name), Treatment::Open, "{record} {name}");
        }
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
            &names(&["Coworker.FullName", "Unknown.Name", "TariffName"]),
        );
        let coworkers = entity::of_segment("coworkers");
        let hidden = Treatment::Hide(Category::Bio);
        assert_eq!(rules.treatment(coworkers, "tariffname"), hidden);
        assert_eq!(rules.treatment(entity::UNKNOWN, "tariffname"), Treatment::Open);
        assert_eq!(rules.treatment(entity::UNKNOWN, "name"), hidden);
        assert_eq!(rules.treatment(coworkers, "shelf"), hidden);
        assert!(rules.keeps(coworkers, "fullname") && rules.keeps(entity::UNKNOWN, "tariffname"));
        assert!(!rules.keeps(entity::UNKNOWN, "fullname") && !rules.keeps(coworkers, "name"));
    }
}

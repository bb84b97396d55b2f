//! The treatment of a field by its name alone.
//!
//! A field of a joined record has the names of the way to it in front
//! (`CoworkerContractCoworkerFullName`), so that the ends of names decide.

use super::category::Category;
use super::entity::{self, Entity};

/// The fate of the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Only what stands inside of a text is looked for.
    Open,
    /// Texts become tokens, numbers become 0.
    Hide(Category),
    /// Texts become tokens; a number is something else, such as a status.
    HideText(Category),
    /// Texts become tokens: of a name or of an e-mail address, by their form.
    Person,
    /// JSON in a text is rewritten, any other text becomes a token.
    Json,
    /// Texts become `null`, numbers become 0.
    Drop,
}

impl Treatment {
    /// Orders treatments by how much they hide.
    pub(super) fn strictness(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::HideText(_) => 1,
            Self::Json => 2,
            Self::Person => 3,
            Self::Hide(_) => 4,
            Self::Drop => 5,
        }
    }
}

/// Returns a name as the rules compare it: lower case, letters and digits alone (`full_name`,
/// `E-Mail`). A name that is longer than any known one is none.
pub(super) fn normalize(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    if name.len() > MAX_NAME {
        String::new()
    } else {
        letters.flat_map(char::to_lowercase).collect()
    }
}

/// Longest name of a field, in bytes.
pub(super) const MAX_NAME: usize = 96;

/// The rules for names, where no table names the field of this record.
pub(super) fn by_name(entity: Entity, name: &str) -> Option<Treatment> {
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if name.starts_with("lastwelcomeemail") || ends(NO_PERSON) {
        return None;
    }
    if ends(SECRET_ENDS) || matches!(name, "token" | "emailcallbackguid") {
        return Some(Treatment::Drop);
    }
    if ends(BIRTH_ENDS) {
        return Some(Treatment::Drop);
    }
    if let Some((_, category)) = ENDS.iter().find(|(names, _)| ends(names)) {
        return Some(Treatment::Hide(*category));
    }
    let own = without_joins(name);
    if own != name || entity == entity::UNKNOWN {
        // A joined field, or one of a record that no table names.
        if let Some((_, category)) = EXACT.iter().find(|(names, _)| names.contains(&own)) {
            let is_status = own == "state";
            let hide = if is_status { Treatment::HideText } else { Treatment::Hide };
            return Some(hide(*category));
        }
    }
    if PERSONS.contains(&own) || name.starts_with("teamsatthetimeof") {
        return Some(Treatment::Person);
    }
    if JSON.contains(&own) {
        return Some(Treatment::Json);
    }
    let is_custom = name.strip_prefix("custom").is_some_and(|rest| {
        (1..=2).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit())
    });
    let is_document = name.contains("identitydocument") && !name.ends_with("type");
    let is_place = ends(&["billinglatitude", "billinglongitude"]);
    let is_guess = name.contains("guessed") && name.contains("name");
    match name {
        _ if is_guess => Some(Treatment::Hide(Category::Name)),
        _ if is_custom || is_document || is_place => Some(Treatment::Hide(Category::Bio)),
        _ => None,
    }
}

/// Returns a name without the names of persons' records in front.
fn without_joins(mut name: &str) -> &str {
    loop {
        let join = JOINS.iter().find_map(|join| name.strip_prefix(join));
        match join.filter(|rest| !rest.is_empty()) {
            Some(rest) => name = rest,
            None => return name,
        }
    }
}

/// Records of persons, as they stand in front of joined fields.
const JOINS: &[&str] = &[
    "coworkercontract",
    "coworkerinvoice",
    "coworker",
    "visitor",
    "contractcontact",
    "payingmember",
    "billing",
    "billto",
    "owner",
    "responsible",
    "user",
    "proposal",
    "member",
    "host",
    "reviewer",
];

/// Ends of names of personal fields. The order matters: `CoworkerEmailAddress` is no street.
const ENDS: &[(&[&str], Category)] = &[
    (
        &[
            "fullname",
            "fullnames",
            "billingname",
            "billingnames",
            "companyname",
            "nickname",
            "billtoname",
            "postedbyname",
            "firstname",
            "lastname",
            "surname",
            "middlename",
            "salutation",
            "invoicingbusinessname",
            "username",
            "fromname",
            "teamnames",
            "givenname",
            "familyname",
            "maidenname",
            "contactname",
            "guestname",
            "guestnames",
            "visitorname",
            "attendeename",
            "customername",
            "membername",
            "coworkername",
            "ownername",
            "assigneename",
        ],
        Category::Name,
    ),
    (
        &[
            "email",
            "emails",
            "emailaddress",
            "emailaddresses",
            "emailcontact",
            "calendarid",
            "externalidentifier",
            "alternativehosts",
        ],
        Category::Email,
    ),
    (
        &[
            "mobilephone",
            "landline",
            "phonenumber",
            "phone",
            "fax",
            "faxnumber",
            "mobilenumber",
            "telephonenumber",
            "whatsappnumber",
        ],
        Category::Phone,
    ),
    (
        &[
            "postcode",
            "postalcode",
            "zipcode",
            "addressline1",
            "addressline2",
            "addressline3",
            "cityname",
            "towncity",
            "billtocity",
            "streetname",
            "streetnumber",
            "neighborhood",
            "billingaddress",
            "billtoaddress",
            "billingstate",
        ],
        Category::Address,
    ),
    (
        &[
            "taxidnumber",
            "bankname",
            "bankaccount",
            "bankbranch",
            "cardnumber",
            "last4digits",
            "paymentmethodnumber",
            "regularpaymentcontractnumber",
            "gocardlesscontractnumber",
            "iban",
            "swiftcode",
            "sortcode",
            "bankaccountnumber",
        ],
        Category::Financial,
    ),
    (&["profilewebsite"], Category::Social),
    (
        &[
            "notes",
            "profilesummary",
            "gender",
            "alertnote",
            "messagetext",
            "chattext",
            "draftbody",
            "draftsubject",
            "cancellationreasondetails",
            "deliveryinstructions",
            "visitreason",
            "macaddress",
            "macaddresses",
            "passportnumber",
            "nationality",
            "nationalities",
            "nationalid",
            "nationalidnumber",
            "nationalinsurancenumber",
            "socialsecuritynumber",
            "drivinglicencenumber",
            "drivinglicensenumber",
            "identitycardnumber",
            "placeofbirth",
            "birthplace",
        ],
        Category::Bio,
    ),
];

/// Whole names of personal fields, alone or behind a joined record.
const EXACT: &[(&[&str], Category)] = &[
    (&["address", "state"], Category::Address),
    (
        &[
            "twitter",
            "facebook",
            "google",
            "telegram",
            "linkedin",
            "skype",
            "github",
            "pinterest",
            "flickr",
            "instagram",
            "vimeo",
            "tumblr",
            "blogger",
        ],
        Category::Social,
    ),
];

/// Ends of names of dates that tell a person from another.
const BIRTH_ENDS: &[&str] = &[
    "dateofbirth",
    "birthday",
    "birthdate",
    "yearofbirth",
    "identitydocumentexpirationdate",
    "passportexpirationdate",
];

/// Fields that name a person in some way.
const PERSONS: &[&str] = &[
    "tostringtext",
    "updatedby",
    "createdby",
    "cancelledby",
    "actionby",
    "addedby",
    "receivedby",
    "attemptedvalue",
    "reviewedby",
    "postedby",
    "assignedto",
    "assignedby",
    "approvedby",
    "bookedby",
    "completedby",
    "deletedby",
    "invitedby",
    "modifiedby",
    "requestedby",
    "signedby",
    "submittedby",
];

/// Fields that hold a record, or part of one, as a text.
const JSON: &[&str] = &["oldvalue", "newvalue", "customdata", "zoomeventdata", "criteriapayload"];

/// Ends of names of fields that give access. A boolean of such a name stays.
const SECRET_ENDS: &[&str] = &[
    "password",
    "passwordsalt",
    "twofactorsecret",
    "accesstoken",
    "refreshtoken",
    "privatekey",
    "banktoken",
    "customertoken",
    "accesspincode",
    "accesscardid",
    "keyfobnumber",
    "accesscode",
    "visitorcode",
    "protectedticket",
    "tickethash",
    "ticketsalt",
    "encryptedvalue",
];

/// Names that end like a personal field and are none: a loyalty card, public text.
const NO_PERSON: &[&str] = &["passportcardnumber", "ticketnotes"];

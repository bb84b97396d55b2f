//! The JSON of what was captured of one request: redacted, and only for readers who asked for it.

use serde::{Deserialize, Serialize};

/// `GET /v1/captures/ID`, and the event `content`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestContent {
    /// The request's number, as its record has it.
    pub request_id: u64,
    /// The fields of the query; `None` where the reader did not ask for it.
    pub query: Option<Vec<NamedValue>>,
    /// The message of the client.
    pub request: MessageContent,
    /// The message that the client got.
    pub response: MessageContent,
}

/// One of the two messages of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageContent {
    /// Headers by an allow-list.
    pub headers: Vec<NamedValue>,
    /// The body, where it was captured.
    pub body: Option<BodyContent>,
}

/// A header, or a field of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedValue {
    /// The name.
    pub name: String,
    /// The value, redacted.
    pub value: String,
}

/// A body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyContent {
    /// The text, redacted; `None` where it is not understood.
    pub text: Option<String>,
    /// The reason why the text is missing, or ends early.
    #[serde(default)]
    pub note: Option<String>,
}

impl MessageContent {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.name == name).map(|it| it.value.as_str())
    }
}

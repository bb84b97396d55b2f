//! Whose tokens a table has, and how its file says so.

/// Whose tokens a table has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableName {
    /// Clients without a key.
    Anonymous,
    /// The person who reads what was captured of requests.
    Reader,
    /// The client with this identifier.
    Client(String),
    /// The clients of this group.
    Group(String),
}

impl TableName {
    /// Says whether the table outlives the process: a reader sees only what was captured since.
    pub(super) fn is_kept(&self) -> bool {
        !matches!(self, Self::Reader)
    }

    /// Returns the name as one text.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Reader => "reader".to_owned(),
            Self::Client(id) => format!("client {id}"),
            Self::Group(name) => format!("group {name}"),
        }
    }

    /// Reads what [`TableName::label`] wrote.
    pub(super) fn from_label(label: &str) -> Option<Self> {
        match label.split_once(' ') {
            None if label == "anonymous" => Some(Self::Anonymous),
            None if label == "reader" => Some(Self::Reader),
            Some(("client", id)) => Some(Self::Client(id.to_owned())),
            Some(("group", name)) => Some(Self::Group(name.to_owned())),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [
            TableName::Anonymous,
            TableName::Reader,
            TableName::Client("5a9df2e1".to_owned()),
            TableName::Group("two words".to_owned()),
        ] {
            assert_eq!(TableName::from_label(&name.label()), Some(name));
        }
        for other in ["", "client", "anonymous x", "user x"] {
            assert_eq!(TableName::from_label(other), None);
        }
    }
}

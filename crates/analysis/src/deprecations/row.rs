//! What a line of the table holds.

/// A kind of Kubernetes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Kind.
    pub kind: &'static str,
    /// Group; empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// First minor that serves it, where known.
    pub introduced: Option<u32>,
    /// First minor that warns of it.
    pub deprecated: Option<u32>,
    /// First minor that does not serve it any more.
    pub removed: Option<u32>,
    /// API version and kind to use instead.
    pub replacement: Option<(&'static str, &'static str)>,
    /// What the removal rests on.
    pub basis: Basis,
    /// The release that the row comes from.
    pub release: u32,
}

/// What a removal rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Two schemas: one has the kind, the next has not.
    Schema,
    /// A lifecycle tag alone: a plan of the project, which may still change.
    Tag,
}

/// A kind of somebody else, with releases of that component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Kind.
    pub kind: &'static str,
    /// Group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Whose it is.
    pub component: &'static str,
    /// First release that warns of it.
    pub deprecated: Option<(u32, u32)>,
    /// First release that does not serve it any more.
    pub removed: Option<(u32, u32)>,
    /// What to use instead.
    pub replacement: Option<&'static str>,
    /// Where that is published.
    pub source: &'static str,
}

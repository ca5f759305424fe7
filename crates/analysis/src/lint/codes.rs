//! Codes of what is wrong in runbooks. Each has a page under `docs/lint`.

use super::Severity::{self, Fails, Harms, Misleads};

/// A rule: code and severity.
pub type Rule = (&'static str, Severity);

/// The shell cannot read the script.
pub const UNREADABLE: Rule = ("FWL001", Fails);
/// Commands stand outside of a block of code.
pub const OUTSIDE: Rule = ("FWL002", Misleads);
/// The link leads to something else.
pub const WRONG_LINK: Rule = ("FWL003", Misleads);

/// A pause is taken for proof.
pub const SLEEP: Rule = ("FWL010", Misleads);
/// A role is read off the number in a name.
pub const ORDINAL: Rule = ("FWL011", Harms);
/// A wait that failed stops nothing.
pub const GOES_ON: Rule = ("FWL012", Harms);
/// The command never returns, and others stand after it.
pub const NEVER_RETURNS: Rule = ("FWL013", Fails);
/// The filter selects by a field that is not there.
pub const EMPTY_FILTER: Rule = ("FWL014", Misleads);
/// What a terminal shows is taken for data.
pub const TERMINAL: Rule = ("FWL015", Misleads);

/// kubectl has no such option.
pub const KUBECTL_OPTION: Rule = ("FWL100", Fails);
/// The pod's name is freed while its process may still write.
pub const FORCED: Rule = ("FWL101", Harms);
/// A delete asks no budget.
pub const DELETED: Rule = ("FWL102", Harms);
/// Ready is taken for replicated.
pub const READY: Rule = ("FWL103", Harms);
/// The selector moves all of the traffic.
pub const ALL_TRAFFIC: Rule = ("FWL104", Harms);
/// The service is pinned to a pod.
pub const PINNED: Rule = ("FWL105", Harms);
/// The scale-down removes the new primary.
pub const REMOVES_PRIMARY: Rule = ("FWL106", Harms);
/// The patch restarts every member.
pub const RESTARTS_ALL: Rule = ("FWL107", Harms);
/// Logs by selector are ten lines a pod.
pub const TEN_LINES: Rule = ("FWL108", Misleads);
/// The oldest events, not the newest.
pub const OLDEST: Rule = ("FWL109", Misleads);
/// API versions are no releases.
pub const NO_RELEASE: Rule = ("FWL110", Misleads);
/// No service account has this user name.
pub const NO_ACCOUNT: Rule = ("FWL111", Misleads);
/// Terms of a field selector must all hold.
pub const ALL_TERMS: Rule = ("FWL112", Misleads);
/// The loop waits for the end of what has not begun.
pub const NOT_BEGUN: Rule = ("FWL113", Misleads);
/// A completed Job is no backup.
pub const NO_BACKUP: Rule = ("FWL114", Misleads);
/// The drain asks no budget.
pub const FORCED_DRAIN: Rule = ("FWL115", Harms);
/// The drain waits for ever.
pub const ENDLESS_DRAIN: Rule = ("FWL116", Misleads);

/// az has no such command.
pub const AZ_COMMAND: Rule = ("FWL200", Fails);
/// The command has no such option.
pub const AZ_OPTION: Rule = ("FWL201", Fails);
/// The command does not start without an option.
pub const AZ_MISSING: Rule = ("FWL202", Fails);
/// The service does not take the value.
pub const AZ_VALUE: Rule = ("FWL203", Fails);
/// The options exclude each other.
pub const AZ_EXCLUSIVE: Rule = ("FWL204", Fails);
/// The TTL is set to an hour.
pub const TTL: Rule = ("FWL205", Harms);
/// The resource is of another type.
pub const WRONG_RESOURCE: Rule = ("FWL206", Fails);
/// Settings are taken for progress.
pub const NO_PROGRESS: Rule = ("FWL207", Misleads);
/// The pool is upgraded whole.
pub const WHOLE_POOL: Rule = ("FWL208", Harms);
/// The upgrade asks no budget.
pub const FORCED_UPGRADE: Rule = ("FWL209", Harms);

/// CLUSTER FAILOVER is sent to the master.
pub const FAILOVER_AT_MASTER: Rule = ("FWL300", Fails);
/// A node is sought by a name that is not shown.
pub const NAME_NOT_SHOWN: Rule = ("FWL301", Misleads);
/// A node that comes back is forgotten.
pub const FORGET: Rule = ("FWL302", Harms);
/// A failover that does not ask the master.
pub const FORCED_FAILOVER: Rule = ("FWL303", Harms);

/// The old shell of MongoDB.
pub const OLD_MONGO: Rule = ("FWL400", Fails);
/// Members leave the replica set for a restart.
pub const MEMBER_REMOVED: Rule = ("FWL401", Harms);
/// The answer is sought in a text that always has it.
pub const MATCHES_BANNER: Rule = ("FWL402", Misleads);
/// The step-down does not wait for a secondary.
pub const FORCED_STEP_DOWN: Rule = ("FWL403", Harms);

/// A replica is promoted beside a primary that still writes.
pub const NOT_FENCED: Rule = ("FWL500", Harms);
/// The question goes to the wrong member.
pub const WRONG_MEMBER: Rule = ("FWL501", Misleads);
/// Lag is read off the clock.
pub const LAG_BY_CLOCK: Rule = ("FWL502", Misleads);
/// A quorum of synchronous replicas is not counted.
pub const QUORUM_NOT_COUNTED: Rule = ("FWL503", Misleads);
/// recovery.conf is no more.
pub const RECOVERY_CONF: Rule = ("FWL504", Fails);
/// The pooler does not read its new configuration.
pub const NOT_RELOADED: Rule = ("FWL505", Misleads);
/// No limit is taken for a pause.
pub const NO_PAUSE: Rule = ("FWL506", Harms);
/// A reload changes nothing.
pub const RELOADS_NOTHING: Rule = ("FWL507", Misleads);
/// The restore goes on after errors.
pub const RESTORE_GOES_ON: Rule = ("FWL508", Harms);

/// The broker is stopped inside of its container.
pub const STOPPED_INSIDE: Rule = ("FWL600", Harms);
/// A report is taken for a wait.
pub const REPORT_IS_NO_WAIT: Rule = ("FWL601", Misleads);
/// ZooKeeper is no more.
pub const ZOOKEEPER: Rule = ("FWL602", Fails);

/// Allocation stays off while one node after the other goes.
pub const ALLOCATION_OFF: Rule = ("FWL700", Harms);
/// A node that is back is taken for a cluster that is whole.
pub const BACK_IS_NOT_GREEN: Rule = ("FWL701", Harms);

/// The alert watches something else than it names.
pub const OTHER_ALERT: Rule = ("FWL800", Misleads);
/// A rate is taken for a ratio.
pub const NO_RATIO: Rule = ("FWL801", Misleads);
/// Managed Prometheus does not read this kind.
pub const NOT_READ: Rule = ("FWL802", Fails);
/// Grafana does not import the dashboard.
pub const NO_DASHBOARD: Rule = ("FWL803", Fails);

/// All of them.
pub const ALL: &[Rule] = &[
    UNREADABLE,
    OUTSIDE,
    WRONG_LINK,
    SLEEP,
    ORDINAL,
    GOES_ON,
    NEVER_RETURNS,
    EMPTY_FILTER,
    TERMINAL,
    KUBECTL_OPTION,
    FORCED,
    DELETED,
    READY,
    ALL_TRAFFIC,
    PINNED,
    REMOVES_PRIMARY,
    RESTARTS_ALL,
    TEN_LINES,
    OLDEST,
    NO_RELEASE,
    NO_ACCOUNT,
    ALL_TERMS,
    NOT_BEGUN,
    NO_BACKUP,
    FORCED_DRAIN,
    ENDLESS_DRAIN,
    AZ_COMMAND,
    AZ_OPTION,
    AZ_MISSING,
    AZ_VALUE,
    AZ_EXCLUSIVE,
    TTL,
    WRONG_RESOURCE,
    NO_PROGRESS,
    WHOLE_POOL,
    FORCED_UPGRADE,
    FAILOVER_AT_MASTER,
    NAME_NOT_SHOWN,
    FORGET,
    FORCED_FAILOVER,
    OLD_MONGO,
    MEMBER_REMOVED,
    MATCHES_BANNER,
    FORCED_STEP_DOWN,
    NOT_FENCED,
    WRONG_MEMBER,
    LAG_BY_CLOCK,
    QUORUM_NOT_COUNTED,
    RECOVERY_CONF,
    NOT_RELOADED,
    NO_PAUSE,
    RELOADS_NOTHING,
    RESTORE_GOES_ON,
    STOPPED_INSIDE,
    REPORT_IS_NO_WAIT,
    ZOOKEEPER,
    ALLOCATION_OFF,
    BACK_IS_NOT_GREEN,
    OTHER_ALERT,
    NO_RATIO,
    NOT_READ,
    NO_DASHBOARD,
];

//! Codes of everything that stops a plan or is said beside it. Each has a page in `docs/errors/`.
//!
//! Codes are never reused: a page that somebody bookmarked keeps its meaning.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        $($(#[$doc])* #[doc = $title] pub const $name: &str = $code;)*

        /// Every code with its title, in order.
        pub const ALL: &[(&str, &str)] = &[$(($code, $title)),*];
    };
}

codes! {
    SPEC_SYNTAX = "FW0101", "the spec is not readable";
    SPEC_FIELD = "FW0102", "unknown field in the spec";
    SPEC_KIND = "FW0103", "not an Upgrade of a known version";
    SPEC_VALUE = "FW0104", "a value of the spec is not possible";
    ABOVE_CONTROL_PLANE = "FW0110", "target above the control plane";
    TOO_FAR_BEHIND = "FW0111", "more than three minors behind the control plane";
    NOT_OFFERED = "FW0112", "target version not offered by AKS";
    DOWNGRADE = "FW0113", "target older than the pool";
    OPERATION_RUNNING = "FW0114", "an operation is in progress";
    NOT_SUCCEEDED = "FW0115", "cluster or pool not Succeeded";
    AUTO_UPGRADE = "FW0116", "an auto-upgrade channel may act during the run";
    FORCE_UPGRADE = "FW0117", "a force upgrade is still switched on";
    AUTOSCALER = "FW0118", "the autoscaler changes the pool's size";
    POOL_UNKNOWN = "FW0119", "pool of the spec does not exist";
    SYSTEM_POOL = "FW0120", "a System pool cannot ride the wheel";
    NO_ZONE = "FW0121", "pool or node without a zone";
    NO_STEADY_POOL = "FW0122", "no place for the probe and the agents";
    COUNT_MISMATCH = "FW0124", "ARM and Kubernetes disagree about the pool's machines";
    MIXED_VERSIONS = "FW0125", "a pool at the target has older nodes";
    SET_MISSING = "FW0130", "stateful set not found";
    PINNED_TO_POOL = "FW0131", "template pinned to the old pool";
    ROLLOUT_PENDING = "FW0132", "the set is between two revisions";
    SEAT_CLAIM = "FW0133", "the seat's claim exists already";
    ORDINAL_PRIMARY = "FW0134", "the entrypoint derives the primary from the ordinal";
    BUDGET_NEVER = "FW0135", "a budget can never allow the eviction";
    TWO_BUDGETS = "FW0136", "two budgets select one pod";
    DISK_ZONE = "FW0137", "no node can be made where the disk is";
    SHARED_NODE = "FW0138", "members share a node";
    RESTART_DELAYED = "FW0139", "the next restart of a member would be delayed";
    MEMBER_NOT_READY = "FW0140", "a member or its node is not Ready";
    BARE_POD = "FW0141", "a pod without a controller would be lost";
    POD_PINNED = "FW0142", "another workload is pinned to the old pool";
    SETS_SHARE_NODE = "FW0143", "members of two databases share a node";
    LABEL_BY_HAND = "FW0144", "new machines would lack a required label";
    OTHER_POOL_ATTRACTS = "FW0146", "a member could land outside of the new pools";
    LOCAL_DATA = "FW0147", "an eviction destroys local data";
    NO_BUDGET = "FW0148", "no budget protects the set";
    NOT_SPREAD = "FW0149", "two members may share a node";
    UNREACHABLE = "FW0150", "a server could not be asked";
    NO_PRIMARY = "FW0151", "no primary";
    TWO_PRIMARIES = "FW0152", "more than one primary";
    OTHER_SYSTEM = "FW0153", "servers of different databases";
    NOT_STREAMING = "FW0154", "a replica does not stream from the primary";
    LAGGING = "FW0155", "a replica lags behind";
    REPLAY_PAUSED = "FW0156", "replay is paused";
    REPLAY_DELAYED = "FW0157", "replay is delayed on purpose";
    TOO_FEW_MEMBERS = "FW0158", "fewer members than the policy needs";
    RECOVERY_CONF = "FW0159", "recovery.conf present";
    LOGICAL_SLOTS = "FW0160", "logical slots would not survive the hand-over";
    PREPARED_TRANSACTIONS = "FW0161", "prepared transactions in doubt";
    OTHER_AGENT = "FW0162", "another agent is in charge of the database";
    CAPACITY = "FW0163", "capacity settings differ between members";
    WAL_SENDERS = "FW0164", "too few free walsenders";
    SLOTS = "FW0165", "too few free replication slots";
    WALINSPECT = "FW0166", "pg_walinspect is not installed";
    NOT_SUPERUSER = "FW0167", "the session is not a superuser's";
    ARCHIVE_BACKLOG = "FW0168", "the archiver is behind";
    BACKUP_RUNNING = "FW0169", "a base backup is running";
    NOT_REWINDABLE = "FW0170", "the old primary could not be rewound";
    ASYNCHRONOUS = "FW0171", "crash safety wanted from an asynchronous set";
    SESSION_POOLING = "FW0172", "the pooler pools sessions";
    POOLER_UNREACHABLE = "FW0173", "a pooler could not be asked";
    POOLER_PAUSED = "FW0174", "a pooler is paused already";
    POOLER_AIM = "FW0175", "a pooler is not aimed at the primary";
    QUERY_WAIT = "FW0176", "the pooler gives clients up inside the window";
    POOLER_CONFIG = "FW0177", "the pooler's configuration file was not found";
    UNLOGGED = "FW0178", "unlogged tables will be empty";
    LONG_TRANSACTION = "FW0179", "a transaction older than the pause budget is open";
    NO_POOLER = "FW0180", "no pooler holds the clients";
    SERVER_VERSIONS = "FW0181", "server versions do not allow the hand-over";
    POOLER_MISSING = "FW0182", "a pooler of the spec has no pod";
    TIMELINES = "FW0183", "members are on different timelines";
    STANDBY_SIGNAL = "FW0184", "the primary would restart as a standby";
    SYNC_NAMES = "FW0185", "the new primary would wait for nobody";
    GRACE = "FW0186", "the grace period is short for a database";
    POOLER_MOVES = "FW0187", "a pooler runs on a node that will be retired";
    SEAT_OF_ANOTHER_RUN = "FW0188", "the set still has the seat of another run";
    NO_CANDIDATE = "FW0189", "nobody to hand over to";
    SYNC_FIXED = "FW0191", "synchronous_standby_names cannot be changed while the server runs";
    STANDBY_LEFT = "FW0192", "commits wait for the candidate of another hand-over";
    SEAT_LEADS = "FW0193", "the extra seat is the primary";
    OTHER_REPLICAS = "FW0194", "the set was scaled since the run";
    ROLLBACK_OF_ROLLBACK = "FW0195", "a rollback is not rolled back";
    SERVICE = "FW0196", "the Service does not lead to the primary alone";
    UNSOUND = "FW0199", "the plan failed its own check";
    NO_CLUSTER = "FW0501", "a server is not in cluster mode";
    CLUSTER_NOT_OK = "FW0502", "a node does not see the cluster whole";
    VIEWS_DIFFER = "FW0503", "the nodes do not agree about the cluster";
    SLOTS_MOVING = "FW0504", "slots are in migration";
    NO_REPLICA = "FW0505", "a shard has no replica";
    REPLICA_NOT_WHOLE = "FW0506", "a replica lacks what its primary has";
    REDIS_SAVING = "FW0507", "a server writes its data anew";
    MEMORY_ONLY = "FW0508", "a server keeps its data in memory only";
    NODES_CONF = "FW0509", "nodes.conf would be lost with the pod";
    NO_ANNOUNCE = "FW0510", "a node announces no address of its own";
    REDIS_RIGHTS = "FW0511", "the user lacks rights for the procedure";
    FAILBACK = "FW0512", "a container orders failovers by itself";
    FEW_PRIMARIES = "FW0513", "fewer than three primaries";
    SHARD_ON_ONE_NODE = "FW0514", "members of a shard share a node";
    MIN_REPLICAS = "FW0515", "min-replicas-to-write would stop the writes";
    REPLICA_MIGRATION = "FW0516", "a replica could change its shard during the run";
    STRANGERS = "FW0517", "the cluster has nodes that are not of the set";
    REDIS_VERSION = "FW0518", "the server is too old";
    NO_REPLICA_SET = "FW0601", "a server is in no replica set";
    SHARDED = "FW0602", "the set is a part of a sharded cluster";
    MEMBER_STATE = "FW0603", "a member is neither primary nor secondary";
    SET_VIEWS_DIFFER = "FW0604", "the members do not agree about the set";
    ARBITER = "FW0605", "an arbiter votes in the set";
    VOTES = "FW0606", "the votes do not bear a missing member";
    MEMBER_ADDRESS = "FW0607", "a member is known by an address that changes";
    NOT_ELECTABLE = "FW0608", "nobody could take over";
    SECONDARY_BEHIND = "FW0609", "a secondary is behind";
    COMMIT_BEHIND = "FW0610", "the majority is behind";
    OPLOG_SHORT = "FW0611", "the oplog is too short for a move";
    INDEX_BUILD = "FW0612", "an index is being built";
    SET_BACKUP = "FW0613", "a backup reads from a member";
    WRITE_CONCERN = "FW0614", "clients do not wait for a majority";
    MONGO_RIGHTS = "FW0615", "the user lacks rights for the procedure";
    SET_STRANGERS = "FW0616", "the configuration has members that are not of the set";
    NO_CLAIM = "FW0617", "the data would be lost with the pod";
    MONGO_VERSION = "FW0618", "the server is too old";
    TAKEOVER = "FW0619", "the old primary would take over again by itself";
    QUIESCE = "FW0620", "the grace period is shorter than a shutdown";
    REPLICATION_STOPPED = "FW0701", "a replica does not receive or does not apply";
    REPLICA_BEHIND = "FW0702", "a replica is behind";
    NOT_GTID = "FW0703", "a replica does not follow by GTID";
    NO_BINLOG = "FW0704", "a server writes no binary log";
    NO_SLAVE_UPDATES = "FW0705", "a replica does not log what it applies";
    REPLICA_WRITABLE = "FW0706", "a replica takes writes";
    ERRANT = "FW0707", "a replica has transactions that the primary has not";
    REPLICATION_FILTER = "FW0708", "a filter keeps transactions from a member";
    SEMI_SYNC = "FW0709", "commits wait for a replica";
    GALERA = "FW0710", "the server is a member of a Galera cluster";
    GROUP_REPLICATION = "FW0711", "the server is MySQL";
    OPEN_TRANSACTION = "FW0712", "a transaction or statement is open for long";
    SERVER_LOCKED = "FW0713", "a backup or a global lock holds the server";
    MARIADB_VERSION = "FW0714", "the server is too old";
    OTHER_SOURCE = "FW0715", "a replica copies from somebody else";
    SERVER_IDS = "FW0716", "two servers have one number";
    MARIADB_RIGHTS = "FW0717", "the user lacks rights for the procedure";
    FENCED = "FW0718", "the primary takes no writes";
    NOT_STRICT = "FW0719", "a server accepts transactions out of order";
    UNFENCED_USER = "FW0720", "the application's user writes in spite of read_only";
    BINLOG_SHORT = "FW0721", "the binary log is kept for too short a time";
    XA_PREPARED = "FW0722", "XA transactions are prepared and left open";
    RESTART_ROLE = "FW0723", "a replica that restarts would take writes";
    ZOOKEEPER = "FW0801", "the cluster is in ZooKeeper mode";
    KAFKA_VIEWS_DIFFER = "FW0802", "the brokers do not agree about the cluster";
    KAFKA_VERSIONS = "FW0803", "the brokers are not of one version";
    KAFKA_STRANGERS = "FW0804", "the cluster has brokers that are not of the set";
    BROKER_FENCED = "FW0805", "a broker takes no part in the cluster";
    BROKER_ADDRESS = "FW0806", "a broker is known by an address that changes";
    QUORUM_BEHIND = "FW0807", "the metadata quorum is not whole";
    FEW_VOTERS = "FW0808", "the metadata quorum does not bear a missing voter";
    CONTROLLERS_APART = "FW0809", "controllers are no members of the set";
    UNDER_REPLICATED = "FW0810", "a partition lacks a copy that is in sync";
    SINGLE_COPY = "FW0811", "a partition has one copy";
    MIN_ISR = "FW0812", "a missing copy stops the writes";
    REASSIGNING = "FW0813", "partitions are being moved";
    UNCLEAN = "FW0814", "a copy that is not in sync may become the leader";
    RECORD_LEFT = "FW0815", "an earlier run has not given partitions back";
    ABRUPT = "FW0816", "a broker does not say goodbye";
    SLOW_FETCH = "FW0817", "followers pause before they fetch from a new leader";
    KAFKA_NO_CLAIM = "FW0818", "the data would be lost with the pod";
    KAFKA_GRACE = "FW0819", "the grace period is short for a broker";
    KAFKA_HAND_OVER = "FW0820", "Kafka has no primary to hand over";
    CACHE_FEW = "FW1001", "too few members for one to be away";
    CACHE_DISTRIBUTION = "FW1002", "a missing member moves nearly all keys";
    CACHE_HIT_RATE = "FW1003", "the hit-rate would fall below its limit";
    CACHE_BACKEND = "FW1004", "the backend would get too many loads";
    CACHE_FULL = "FW1005", "a member has no room for more keys";
    CACHE_REFILLING = "FW1006", "a member is being refilled";
    CACHE_VERSIONS = "FW1007", "the members are of different versions";
    MEMCACHED_VERSION = "FW1008", "the server is too old";
    CACHE_DUMP = "FW1009", "a server does not list its keys";
    CACHE_NAMES = "FW1010", "members have no names of their own";
    PATRONI_SILENT = "FW1101", "a Patroni could not be asked";
    PATRONI_VIEW = "FW1102", "Patroni does not see the set as it is";
    PATRONI_PAUSED = "FW1103", "Patroni is paused";
    PATRONI_SCHEDULED = "FW1104", "Patroni has a switchover or a restart to come";
    PATRONI_MEMBER = "FW1105", "Patroni does not see a member whole";
    PATRONI_CANDIDATE = "FW1106", "Patroni lets nobody take over";
    PATRONI_SYNCHRONOUS = "FW1107", "Patroni decides for whom commits wait";
    PATRONI_SLOW = "FW1108", "Patroni takes longer than the spec allows";
    PATRONI_OLD = "FW1109", "Patroni is too old";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn codes_are_unique_and_ordered() {
        assert!(ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn every_code_has_a_page() {
        let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        let missing: Vec<_> = ALL
            .iter()
            .filter(|(code, _)| !pages.join(format!("{code}.md")).is_file())
            .collect();
        assert!(missing.is_empty(), "no page in docs/errors: {missing:?}");
    }
}

-- What sealed partitions of many AFTRs are in ClickHouse. `aftr journal ship --create` makes this; on a cluster make it
-- yourself, ON CLUSTER and with Replicated engines. Statements end with a semicolon at the end of a line.

-- Every interval, of every partition whose time it touches: as in the sealed file.
CREATE TABLE IF NOT EXISTS intervals
(
    aftr              LowCardinality(String) COMMENT 'the name that it ships as',
    segment           UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'number of the sealed partition',
    load              UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'the attempt that wrote it: counts only if segments says so',
    day               Date CODEC(Delta, ZSTD(1)) COMMENT 'UTC, of the end of the partition',
    row               UInt64 CODEC(T64, ZSTD(1)) COMMENT 'place in the sealed file, from 0',
    external_address  IPv4 CODEC(Delta, ZSTD(1)),
    first_port        UInt16 CODEC(ZSTD(1)),
    last_port         UInt16 CODEC(ZSTD(1)),
    start_time        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    end_time          Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'null: it lasts, at the end of the partition',
    confirmed_until   Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'records are missing since then',
    end_cause         UInt8 CODEC(ZSTD(1)) COMMENT '1 idle, 2 admin, 3 crash, 4 migration, 5 high availability, 6 lost',
    protocol          UInt8 CODEC(ZSTD(1)) COMMENT '0 = all',
    b4_high           UInt64 CODEC(ZSTD(1)),
    b4_low            UInt64 CODEC(ZSTD(1)),
    prefix_length     UInt8 CODEC(ZSTD(1)) COMMENT 'the subscriber is this prefix around the B4',
    pool_id           UInt32 CODEC(ZSTD(1)),
    instance          UInt16 CODEC(ZSTD(1)),
    internal_address  IPv4 CODEC(ZSTD(1)) COMMENT 'with flag 4',
    internal_port     UInt16 CODEC(ZSTD(1)) COMMENT 'with flag 4',
    flags             UInt8 CODEC(ZSTD(1)) COMMENT '1 start, 2 end written while the clock was doubtful; 4 internal address',
    start_record      UInt64 CODEC(T64, ZSTD(1)) COMMENT '0: lost',
    end_record        UInt64 CODEC(T64, ZSTD(1)) COMMENT '0: lost, or none yet',
    held_since        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    b4                IPv6 ALIAS toIPv6(IPv6NumToString(toFixedString(concat(reverse(reinterpretAsFixedString(b4_high)), reverse(reinterpretAsFixedString(b4_low))), 16)))
)
ENGINE = MergeTree
PARTITION BY day
PRIMARY KEY (external_address, first_port, start_time)
ORDER BY (external_address, first_port, start_time, aftr, segment, load, row)
-- The retention time and a day. Change both tables, not one: ALTER TABLE ... MODIFY TTL.
TTL day + INTERVAL 181 DAY
SETTINGS ttl_only_drop_parts = 1;

-- What was shipped: the proof's ledger. Rows are only ever added. A partition counts from its row 'shipped' on, which is
-- written when what ClickHouse has is proved to be what the file has; the highest load counts.
CREATE TABLE IF NOT EXISTS segments
(
    aftr       LowCardinality(String),
    segment    UInt64,
    load       UInt64,
    state      Enum8('begun' = 1, 'shipped' = 2, 'removed' = 3),
    day        Date,
    name       String COMMENT 'of the sealed file',
    rows       UInt64 COMMENT 'intervals in it',
    sum        String COMMENT 'of the SHA-256 of each interval, modulo 2^256; hexadecimal',
    sha256     String COMMENT 'of the file; hexadecimal',
    catalogue  String CODEC(ZSTD(3)) COMMENT 'its line of the catalogue: JSON',
    began      String CODEC(ZSTD(3)) COMMENT 'what held before it: JSON',
    marks      String CODEC(ZSTD(3)) COMMENT 'its file of marks; hexadecimal',
    at         DateTime64(3, 'UTC') COMMENT 'by the clock of whoever shipped it'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (aftr, segment, load, state)
TTL day + INTERVAL 181 DAY;

-- Texts of configurations: own ranges follow from them (RFC 7422).
CREATE TABLE IF NOT EXISTS configurations
(
    aftr    LowCardinality(String),
    sha256  String COMMENT 'hexadecimal',
    text    String CODEC(ZSTD(3)),
    at      DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (aftr, sha256);

//! Sealed files as they are: ClickHouse and DuckDB find in them who held a port.

use std::process::Command;

use aftr::attribution::query::Archive;

use crate::folder::Folder;
use crate::place::python;
use crate::world::World;

/// The look-up of docs/fleet.md; `FILES` stands for the files.
const SQL: &str = "SELECT CAST(b4_high AS VARCHAR), CAST(prefix_length AS VARCHAR), CAST(start_record AS VARCHAR) FROM FILES \
                   WHERE external_address = ADDRESS AND first_port <= PORT AND last_port >= PORT \
                   AND start_record = RECORD";

fn look_up(python: &str, code: &str, sql: &str) -> String {
    let output = Command::new(python).args(["-c", code, sql]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn sealed_files_are_read_unchanged() {
    let folder = Folder::new("files");
    let world = World::build(&folder.join("aftr-1"), 11, 2000);
    let archive = Archive::open(&world.directory).unwrap();
    let partition = archive.catalogue().partitions.iter().max_by_key(|partition| partition.rows).unwrap();
    let row = &archive.rows_of(partition).unwrap()[5];
    let file = folder.join("aftr-1/sealed").join(format!("{}.parquet", partition.name));
    let file = file.to_str().unwrap();
    let sql = SQL
        .replace("ADDRESS", &row.holding.external.to_bits().to_string())
        .replace("PORT", &row.holding.first_port.to_string())
        .replace("RECORD", &row.start_record.to_string());
    let high = (row.holding.b4.to_bits() >> 64) as u64;
    let wanted = format!("{high} {} {}", row.holding.prefix_len, row.start_record);
    if let Some(python) = python("chdb") {
        let code = "import sys, chdb\nprint(' '.join(str(chdb.query(sys.argv[1], 'TSV')).split()))";
        let sql = sql.replace("FILES", &format!("file('{file}', Parquet)")).replace("VARCHAR", "String");
        assert_eq!(look_up(&python, code, &sql), wanted);
    }
    if let Some(python) = python("duckdb") {
        let code =
            "import sys, duckdb\nprint(*[' '.join(row) for row in duckdb.sql(sys.argv[1]).fetchall()])";
        assert_eq!(look_up(&python, code, &sql.replace("FILES", &format!("'{file}'"))), wanted);
    }
}

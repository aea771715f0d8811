//! Sealed files as they are: what docs/fleet.md tells an operator to type finds who held a port.

use std::process::Command;

use aftr::attribution::query::Archive;
use aftr::attribution::time_text;

use crate::folder::Folder;
use crate::place::python;
use crate::world::World;

const DOCUMENT: &str = include_str!("../../docs/fleet.md");

/// The look-up of the document that has this word.
pub(crate) fn block(word: &str) -> &'static str {
    let mut blocks = DOCUMENT.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.find(|block| block.contains(word)).unwrap()
}

/// That look-up, for another file, address, port and time.
fn look_up(word: &str, [file, address, port, time]: [&str; 4]) -> String {
    let sql = block(word);
    let given = [
        ("/var/lib/aftr/journal/sealed/*.parquet", file),
        ("3325256711", address),
        ("5060", port),
        ("2026-11-21 12:00:00", time),
    ];
    given.iter().fold(sql.to_owned(), |sql, (from, to)| {
        assert!(sql.contains(from), "{from} is not in\n{sql}");
        sql.replace(from, to)
    })
}

fn run(python: &str, code: &str, sql: &str) -> String {
    let output = Command::new(python).args(["-c", code, sql]).output().unwrap();
    assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn sealed_files_are_read_unchanged() {
    let folder = Folder::new("files");
    let world = World::build(&folder.join("aftr-1"), 11, 2000);
    let archive = Archive::open(&world.directory).unwrap();
    let partition = archive.catalogue().partitions.iter().max_by_key(|partition| partition.rows).unwrap();
    let rows = archive.rows_of(partition).unwrap();
    let is_alone = |row: &&aftr::attribution::Interval| {
        let same = |other: &&aftr::attribution::Interval| {
            (other.holding.external, other.holding.first_port)
                == (row.holding.external, row.holding.first_port)
        };
        row.end.is_some() && rows.iter().filter(same).count() == 1
    };
    let row = rows.iter().find(is_alone).unwrap();
    let file = folder.join("aftr-1/sealed").join(format!("{}.parquet", partition.name));
    let (address, port) = (row.holding.external.to_bits().to_string(), row.holding.last_port.to_string());
    let time = time_text(row.start).replace('T', " ").replace('Z', "");
    let given = [file.to_str().unwrap(), &address, &port, &time];
    let (b4, rest) = (row.holding.b4, format!("{} {}", row.holding.prefix_len, row.start_record));
    if let Some(python) = python("chdb") {
        let code = "import sys, chdb\nprint(' '.join(str(chdb.query(sys.argv[1], 'TSV')).split()))";
        assert_eq!(run(&python, code, &look_up("Parquet)", given)), format!("{b4} {rest}"));
    }
    if let Some(python) = python("duckdb") {
        let code = "import sys, duckdb\nprint(*[' '.join(map(str, row)) for row in duckdb.sql(sys.argv[1]).fetchall()])";
        assert_eq!(
            run(&python, code, &look_up("read_parquet", given)),
            format!("{:032x} {rest}", b4.to_bits())
        );
    }
}

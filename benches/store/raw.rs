//! SQLite alone: the least that has to be written.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, params};

/// As in `src/store/sqlite/database.rs`.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA secure_delete = ON;
    PRAGMA cache_size = -8192;
    PRAGMA journal_size_limit = 8388608;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
";

/// How many rows of a table take turns in being changed: as many as there are conversations.
const TURNS: usize = 32;

/// What a commit does: tables and lengths of what it puts, how much it deletes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) updates: Vec<(u8, usize)>,
    pub(crate) inserts: Vec<(u8, usize)>,
    pub(crate) deletes: usize,
}

impl Shape {
    pub(crate) fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.inserts.is_empty() && self.deletes == 0
    }
}

pub(crate) struct Raw {
    connection: Connection,
    shape: Shape,
    /// Rows to change, by table.
    rows: BTreeMap<u8, VecDeque<i64>>,
    inserted: VecDeque<i64>,
    keys: u64,
}

impl Raw {
    pub(crate) fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(SETTINGS).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        Self {
            connection,
            shape: Shape::default(),
            rows: BTreeMap::new(),
            inserted: VecDeque::new(),
            keys: 0,
        }
    }

    pub(crate) fn set(&mut self, shape: Shape) {
        for (table, _) in &shape.updates {
            self.rows.entry(*table).or_insert_with(|| {
                let first = i64::from(*table) << 48;
                let rows = "SELECT place FROM records WHERE place BETWEEN ?1 AND ?2 LIMIT ?3";
                let mut rows = self.connection.prepare(rows).unwrap();
                let rows =
                    rows.query_map(params![first, first + (1 << 48) - 1, TURNS as i64], |row| row.get(0));
                rows.unwrap().map(Result::unwrap).collect()
            });
        }
        self.shape = shape;
    }

    /// One transaction of the shape, and how long it takes. What it has put is deleted later, as the device's is.
    pub(crate) fn commit(&mut self) -> Duration {
        let Self { connection, shape, rows, inserted, keys } = self;
        let began = Instant::now();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        {
            let update = "UPDATE records SET version = ?2, value = ?3 WHERE place = ?1";
            let mut update = transaction.prepare_cached(update).unwrap();
            for (table, len) in &shape.updates {
                let row = rows.get_mut(table).unwrap();
                row.rotate_left(1);
                update.execute(params![row[0], 1, vec![1_u8; *len]]).unwrap();
            }
            let mut delete = transaction.prepare_cached("DELETE FROM records WHERE place = ?1").unwrap();
            for place in inserted.drain(..shape.deletes.min(inserted.len())) {
                delete.execute([place]).unwrap();
            }
            if !shape.inserts.is_empty() {
                let reserve = "UPDATE sequence SET last = last + ?1 RETURNING last";
                let mut reserve = transaction.prepare_cached(reserve).unwrap();
                let count = shape.inserts.len() as i64;
                let mut last: i64 = reserve.query_row([count], |row| row.get(0)).unwrap();
                last -= count;
                let insert = "INSERT INTO records (place, key, version, value) VALUES (?1, ?2, ?3, ?4)";
                let mut insert = transaction.prepare_cached(insert).unwrap();
                for (table, len) in &shape.inserts {
                    last += 1;
                    *keys += 1;
                    // Spread over the index, as hashes are.
                    let spread = keys.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
                    let key = [&[*table][..], &spread, &keys.to_be_bytes()].concat();
                    let place = (i64::from(*table) << 48) | last;
                    insert.execute(params![place, key, 1, vec![1_u8; *len]]).unwrap();
                    inserted.push_back(place);
                }
            }
        }
        transaction.commit().unwrap();
        let time = began.elapsed();
        let transaction = connection.transaction().unwrap();
        {
            let mut delete = transaction.prepare_cached("DELETE FROM records WHERE place = ?1").unwrap();
            let keep = 32 * 3;
            for place in inserted.drain(..inserted.len().saturating_sub(keep)) {
                delete.execute([place]).unwrap();
            }
        }
        transaction.commit().unwrap();
        time
    }
}

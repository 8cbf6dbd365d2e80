//! What SQL may do, judged inside SQLite's own compiler: no second parser that could disagree.
//!
//! Everything is refused but reading and writing the tenant's own tables, and in migrations
//! changing their schema. What belongs to SQLite (`sqlite_`) or to us (`eonpro_`) is out of
//! reach, and so are other files, settings, transactions, temporary and virtual tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::error::{DbError, sqlite};

/// What statements may do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Closed,
    /// Our own statements.
    Own,
    /// Reading.
    Read,
    /// Reading and writing rows.
    Write,
    /// Changing the schema as well.
    Schema,
}

/// The switch between the modes of one connection, which also remembers refusals: SQLite reports
/// some of them as a malformed statement.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Switch>);

#[derive(Debug)]
struct Switch {
    mode: AtomicU8,
    refused: AtomicBool,
}

impl Gate {
    pub(super) fn new(mode: Mode) -> Self {
        Self(Arc::new(Switch {
            mode: AtomicU8::new(mode as u8),
            refused: AtomicBool::new(false),
        }))
    }

    pub(super) fn set(&self, mode: Mode) {
        self.0.mode.store(mode as u8, Ordering::Release);
    }

    fn mode(&self) -> Mode {
        let now = self.0.mode.load(Ordering::Acquire);
        [Mode::Own, Mode::Read, Mode::Write, Mode::Schema]
            .into_iter()
            .find(|mode| *mode as u8 == now)
            .unwrap_or(Mode::Closed)
    }

    pub(super) fn judge(&self, asked: &AuthContext<'_>) -> Authorization {
        if allowed(self.mode(), asked) {
            return Authorization::Allow;
        }
        self.0.refused.store(true, Ordering::Release);
        Authorization::Deny
    }

    /// Why a statement failed, given that everything before it succeeded.
    pub(super) fn explain(&self, error: &rusqlite::Error) -> DbError {
        match sqlite(error) {
            DbError::Statement if self.0.refused.swap(false, Ordering::AcqRel) => {
                DbError::QueryRefused
            }
            other => other,
        }
    }

    /// Forgets earlier refusals.
    pub(super) fn begin(&self) {
        self.0.refused.store(false, Ordering::Release);
    }
}

fn allowed(mode: Mode, asked: &AuthContext<'_>) -> bool {
    use AuthAction as A;
    match mode {
        Mode::Closed => return false,
        Mode::Own => return true,
        Mode::Read | Mode::Write | Mode::Schema => {}
    }
    let (write, schema) = (mode != Mode::Read, mode == Mode::Schema);
    match asked.database_name {
        None | Some("main") => {}
        Some(_) => return schema && empty_catalog(&asked.action),
    }
    match asked.action {
        A::Select | A::Recursive => true,
        A::Function { function_name } => !FUNCTIONS.contains(&lower(function_name).as_str()),
        A::Read { table_name, .. } => own_table(table_name) || (schema && schema_reads(table_name)),
        // SQLite checks the rows when a column with a constraint is added.
        A::Pragma { pragma_name, .. } => schema && lower(pragma_name) == "quick_check",
        A::Insert { table_name } | A::Delete { table_name } | A::Update { table_name, .. } => {
            // SQLite asks for its catalog when a schema changes; writing it directly is refused
            // by the defensive flag.
            write && (own_table(table_name) || (schema && catalog(table_name)))
        }
        A::CreateTable { table_name }
        | A::DropTable { table_name }
        | A::AlterTable { table_name, .. }
        | A::CreateIndex { table_name, .. }
        | A::DropIndex { table_name, .. }
        | A::CreateTrigger { table_name, .. }
        | A::DropTrigger { table_name, .. } => schema && own_table(table_name),
        A::CreateView { view_name } | A::DropView { view_name } => schema && own_table(view_name),
        A::Reindex { .. } => schema,
        _ => false,
    }
}

/// Functions that reach out of the database.
const FUNCTIONS: [&str; 2] = ["load_extension", "fts3_tokenizer"];

fn own_table(name: &str) -> bool {
    let name = lower(name);
    let foreign = ["sqlite_", "eonpro_", "pragma_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    !foreign && name != "dbstat"
}

fn catalog(name: &str) -> bool {
    matches!(lower(name).as_str(), "sqlite_master" | "sqlite_schema")
}

/// SQLite also corrects the catalog of temporary tables when it renames something; there are none.
fn empty_catalog(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Read { table_name, .. } | AuthAction::Update { table_name, .. } => {
            matches!(
                lower(table_name).as_str(),
                "sqlite_temp_master" | "sqlite_temp_schema"
            )
        }
        _ => false,
    }
}

fn schema_reads(name: &str) -> bool {
    catalog(name) || lower(name) == "pragma_quick_check"
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(mode: Mode, action: AuthAction<'_>) -> bool {
        let asked = AuthContext {
            action,
            database_name: Some("main"),
            accessor: None,
        };
        allowed(mode, &asked)
    }

    #[test]
    fn each_mode_allows_what_its_name_says() {
        let insert = AuthAction::Insert {
            table_name: "patients",
        };
        let create = AuthAction::CreateTable {
            table_name: "patients",
        };
        for (mode, inserts, creates) in [
            (Mode::Closed, false, false),
            (Mode::Read, false, false),
            (Mode::Write, true, false),
            (Mode::Schema, true, true),
        ] {
            assert_eq!(judge(mode, insert), inserts, "{mode:?}");
            assert_eq!(judge(mode, create), creates, "{mode:?}");
        }
    }

    #[test]
    fn no_mode_of_the_application_reaches_files_settings_or_system_tables() {
        let refused = [
            AuthAction::Attach { filename: "x" },
            AuthAction::Detach {
                database_name: "main",
            },
            AuthAction::Pragma {
                pragma_name: "writable_schema",
                pragma_value: Some("1"),
            },
            AuthAction::CreateTempTable { table_name: "t" },
            AuthAction::CreateVtable {
                table_name: "t",
                module_name: "fts5",
            },
            AuthAction::Function {
                function_name: "Load_Extension",
            },
            AuthAction::Insert {
                table_name: "EONPRO_migrations",
            },
            AuthAction::Update {
                table_name: "sqlite_sequence",
                column_name: "seq",
            },
            AuthAction::Read {
                table_name: "sqlite_dbpage",
                column_name: "data",
            },
            AuthAction::Read {
                table_name: "pragma_database_list",
                column_name: "file",
            },
            AuthAction::DropTable {
                table_name: "eonpro_file",
            },
        ];
        for action in refused {
            for mode in [Mode::Read, Mode::Write, Mode::Schema] {
                assert!(!judge(mode, action), "{mode:?} {action:?}");
            }
        }
    }

    #[test]
    fn another_database_of_the_connection_is_out_of_reach() {
        let asked = AuthContext {
            action: AuthAction::Read {
                table_name: "t",
                column_name: "c",
            },
            database_name: Some("temp"),
            accessor: None,
        };
        assert!(!allowed(Mode::Schema, &asked));
    }
}

//! The statement of a query: its conditions in the server's words.

use eonpro_audit::sequence::Asked;
use eonpro_audit::{Effort, LogId, Order};
use eonpro_core::time::Timestamp;
use tokio_postgres::types::{ToSql, Type};

use super::database::{Ask, Entry, Statements, number, signed};
use crate::error::PgError;
use crate::pool::Parameter;

/// A value that the statement owns.
type Value = (Box<dyn ToSql + Sync + Send>, Type);

/// A statement that grows by conditions.
struct Condition {
    sql: String,
    values: Vec<Value>,
}

impl Condition {
    /// Takes `left`, in which `{}` stands for the value.
    fn and(&mut self, text: &str, value: impl ToSql + Sync + Send + 'static, kind: Type) {
        self.values.push((Box::new(value), kind));
        let place = format!("${}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&text.replace("{}", &place));
    }

    fn and_fact(&mut self, schema: &str, path: &str, value: Option<String>) {
        if let Some(value) = value {
            let text = format!("{schema}.audit_fact(bytes, ARRAY[{path}]) = {{}}");
            self.and(&text, value, Type::TEXT);
        }
    }
}

impl Statements {
    /// The index of the first entry of `log` that was recorded at `at` or later, by the column that says so.
    pub(super) async fn recorded_from(
        &self,
        on: &impl Ask,
        log: LogId,
        at: Timestamp,
    ) -> Result<Option<u64>, PgError> {
        let (log, at) = (log.to_string(), at.nanos());
        let sql = format!(
            "SELECT index FROM {}.audit_entry WHERE log = $1 AND recorded >= $2 \
             ORDER BY recorded LIMIT 1",
            self.schema
        );
        let parameters: [Parameter<'_>; 2] = [(&log, Type::TEXT), (&at, Type::INT8)];
        let rows = on.ask(&sql, &parameters).await?;
        rows.first().map(|row| number(row, 0)).transpose()
    }

    /// The first `limit` entries of the indexes from `low` up to `high` that the server takes for hits, in the
    /// order that was asked for. With [`Effort::Entries`] all entries are taken for hits.
    pub(super) async fn found(
        &self,
        on: &impl Ask,
        asked: &Asked,
        (low, high): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Entry>, PgError> {
        let query = asked.query();
        let schema = &self.schema;
        let mut condition = Condition {
            sql: format!(
                "SELECT index, id::text, recorded, bytes, leaf FROM {schema}.audit_entry WHERE true"
            ),
            values: Vec::new(),
        };
        condition.and("log = {}", query.log.to_string(), Type::TEXT);
        condition.and("index >= {}", signed(low), Type::INT8);
        condition.and("index < {}", signed(high), Type::INT8);
        if query.effort == Effort::Index && query.log != LogId::Directory {
            let outcome = query.outcome.map(|outcome| outcome.code().to_string());
            let code = query.code.as_ref().map(|code| code.as_str().to_owned());
            let actor = query.actor.as_ref().map(|actor| actor.as_str().to_owned());
            let trace = query.trace.as_ref().map(|trace| trace.as_str().to_owned());
            condition.and_fact(schema, "'code'", code);
            condition.and_fact(schema, "'outcome'", outcome);
            condition.and_fact(schema, "'actor', 'id'", actor);
            condition.and_fact(schema, "'trace'", trace);
            if let Some(called) = asked.called() {
                let text = format!("{schema}.audit_patients(bytes) @> {{}}");
                condition.and(&text, vec![called.to_string()], Type::TEXT_ARRAY);
            }
        }
        let order = match query.order {
            Order::OldestFirst => "",
            Order::NewestFirst => " DESC",
        };
        condition.sql += &format!(" ORDER BY index{order} LIMIT {limit}");
        let values = condition.values.iter();
        let parameters: Vec<Parameter<'_>> = values
            .map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()))
            .collect();
        let rows = on.ask(&condition.sql, &parameters).await?;
        rows.iter().map(Entry::of).collect()
    }
}

//! The ids that tie a line to its request, from the mirror of the request's context.
//!
//! The mirror belongs to the task: a line from a thread that blocks, or from a task started
//! outside of `with_log_context`, carries no ids.

use eonpro_core::context::log_context;

use crate::line::Line;

/// Writes the ids of the present request, if there is one.
pub(crate) fn push_ids(line: &mut Line) {
    log_context(|cx| {
        line.push_display("request", &cx.request_id());
        line.push_display("trace", &cx.trace().trace_id());
        line.push_display("span", &cx.trace().span_id());
        if let Some(tenant) = cx.tenant() {
            line.push_display("tenant", &tenant.id);
        }
        // The kind alone: whose id it was is the audit log's matter.
        line.push_display("actor", &cx.actor().kind.as_str());
    });
}

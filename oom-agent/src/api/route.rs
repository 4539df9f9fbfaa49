//! One route: where it is, who answers, and what the `OpenAPI` document says of it.
//!
//! Reads nothing. The router and the document are both made of these, so neither has a route that the other
//! has not.

use axum::{Router, routing::MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Makes a schema.
pub(super) type Form = fn(&mut SchemaGenerator) -> Schema;

/// A route of GET, whose handler takes this state.
pub(super) struct Route<S> {
    /// As axum has it: `{name}` is one part of the path, `{*name}` all that follow.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Structures whose members are the parameters of the query.
    pub(super) parameters: Vec<Form>,
    pub(super) answer: Answer,
    /// Another media type of a good answer.
    pub(super) or_in: Option<&'static str>,
    /// Statuses of problems.
    pub(super) failures: &'static [u16],
    /// A status with another answer than a problem, in plain text.
    pub(super) also: Option<u16>,
    handler: MethodRouter<S>,
}

/// What a good answer is.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// JSON of this form.
    Json(Form),
    /// Of this media type.
    Of(&'static str),
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// Answers in plain text.
    pub(super) fn new(path: &'static str, handler: MethodRouter<S>, summary: &'static str) -> Self {
        Self {
            path,
            summary,
            parameters: Vec::new(),
            answer: Answer::Of("text/plain"),
            or_in: None,
            failures: &[],
            also: None,
            handler,
        }
    }

    /// Takes the members of `T` as parameters.
    pub(super) fn takes<T: JsonSchema>(mut self) -> Self {
        self.parameters.push(T::json_schema);
        self
    }

    /// Answers with JSON.
    pub(super) fn answers<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Answers with something else.
    pub(super) fn answers_in(mut self, media_type: &'static str) -> Self {
        self.answer = Answer::Of(media_type);
        self
    }

    /// May also answer in this media type.
    pub(super) fn or_in(mut self, media_type: &'static str) -> Self {
        self.or_in = Some(media_type);
        self
    }

    /// May answer with these problems.
    pub(super) fn fails(mut self, with: &'static [u16]) -> Self {
        self.failures = with;
        self
    }

    /// May also answer with this status in plain text.
    pub(super) fn also(mut self, status: u16) -> Self {
        self.also = Some(status);
        self
    }

    /// Adds it.
    pub(super) fn add_to(self, router: Router<S>) -> Router<S> {
        router.route(self.path, self.handler)
    }
}

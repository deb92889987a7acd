//! What every command that talks to a controller or an agent has at hand.

use control_api::action::Action;
use serde_json::{Map, Value};

use crate::client::{Agent, Controller};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Column, Printer};

/// How a command ends.
pub(crate) type Outcome = Result<Exit, Failure>;

/// The two doors, and the way results are shown.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) controller: Controller,
    pub(crate) agent: Agent,
    pub(crate) printer: Printer,
    /// The cluster that is meant; none when there is only one.
    pub(crate) cluster: Option<String>,
}

impl Session {
    /// Takes an action and returns its view.
    pub(crate) async fn call(&self, action: Action, input: Value) -> Result<Value, Failure> {
        self.controller.call(action, input).await
    }

    /// Shows a list.
    pub(crate) async fn list(&self, action: Action, input: Value, columns: &[Column]) -> Outcome {
        let rows = rows(self.call(action, input).await?);

        self.put(&self.printer.list(&rows, columns))
    }

    /// Shows one object.
    pub(crate) async fn show(&self, action: Action, input: Value) -> Outcome {
        let item = self.call(action, input).await?;

        self.put(&self.printer.item(&item))
    }

    /// Takes an action for each of several things, and shows what came of each. One that fails does not hold up the
    /// rest.
    pub(crate) async fn each(&self, action: Action, inputs: Vec<Value>, columns: &[Column]) -> Outcome {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for input in inputs {
            match self.call(action, input).await {
                Ok(view) => done.push(view),
                Err(failure) => failed.push(failure),
            }
        }
        let Some(last) = failed.pop() else {
            return self.put(&self.printer.list(&done, columns));
        };
        if done.is_empty() && failed.is_empty() {
            return Err(last);
        }
        self.put(&self.printer.list(&done, columns))?;
        for failure in &failed {
            eprintln!("{failure}");
        }
        if done.is_empty() {
            return Err(last);
        }
        eprintln!("{last}");

        Ok(Exit::Partial)
    }

    /// Puts a result on standard output.
    pub(crate) fn put(&self, text: &str) -> Outcome {
        match output::put(text) {
            Ok(()) => Ok(Exit::Done),
            Err(error) => Err(
                Failure::new(Exit::Failed, "output", "the result could not be written")
                    .because(error.to_string()),
            ),
        }
    }

    /// The input with the cluster in it, when one is named.
    pub(crate) fn scoped(&self, input: Value) -> Value {
        match (&self.cluster, input) {
            (Some(cluster), Value::Object(mut members)) => {
                members.insert("cluster".to_owned(), Value::from(cluster.as_str()));
                Value::Object(members)
            }
            (_, input) => input,
        }
    }
}

/// The input of an action that asks for none.
pub(crate) fn nothing() -> Value {
    Value::Object(Map::new())
}

fn rows(value: Value) -> Vec<Value> {
    match value {
        Value::Array(rows) => rows,
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
    }
}

//! Loops, conditions and groups.

use shuck_ast::{CompoundCommand, ConditionalExpr, Span, StmtSeq};

use super::super::{Loop, Word, nested};
use super::{Around, Walk};
use crate::lint::text::{Place, Script};

impl Walk<'_> {
    fn in_loop(
        &mut self,
        around: &Around,
        span: Span,
        over: Option<(String, Vec<Word>)>,
    ) -> Around {
        let place = self.place(span);
        self.commands.loops.push(Loop {
            place,
            over,
            until: false,
        });
        let mut around = around.clone();
        around.loops.push(self.commands.loops.len() - 1);
        around
    }

    pub(super) fn compound(&mut self, compound: &CompoundCommand, around: &Around) {
        let condition = Around {
            decides: true,
            ..around.clone()
        };
        match compound {
            CompoundCommand::If(command) => {
                self.list(&command.condition, &condition);
                self.list(&command.then_branch, around);
                for (test, body) in &command.elif_branches {
                    self.list(test, &condition);
                    self.list(body, around);
                }
                if let Some(body) = &command.else_branch {
                    self.list(body, around);
                }
            }
            CompoundCommand::For(command) => {
                let name = command
                    .targets
                    .first()
                    .and_then(|target| target.name.as_ref())
                    .map_or(String::new(), |name| name.as_str().to_owned());
                let words: Vec<Word> = command
                    .words
                    .iter()
                    .flatten()
                    .map(|word| self.word(word, around))
                    .collect();
                let around = self.in_loop(around, command.span, Some((name, words)));
                self.list(&command.body, &around);
            }
            CompoundCommand::While(command) => {
                self.polling(&command.condition, &command.body, command.span, around);
            }
            CompoundCommand::Until(command) => {
                let next = self.commands.loops.len();
                self.polling(&command.condition, &command.body, command.span, around);
                if let Some(this) = self.commands.loops.get_mut(next) {
                    this.until = true;
                }
            }
            CompoundCommand::ArithmeticFor(command) => {
                let around = self.in_loop(around, command.span, None);
                self.list(&command.body, &around);
            }
            CompoundCommand::Repeat(command) => {
                let around = self.in_loop(around, command.span, None);
                self.list(&command.body, &around);
            }
            CompoundCommand::Foreach(command) => {
                let words = command.words.iter().map(|w| self.word(w, around)).collect();
                let name = command.variable.as_str().to_owned();
                let around = self.in_loop(around, command.span, Some((name, words)));
                self.list(&command.body, &around);
            }
            CompoundCommand::Select(command) => {
                let around = self.in_loop(around, command.span, None);
                self.list(&command.body, &around);
            }
            CompoundCommand::Case(command) => {
                self.word(&command.word, around);
                for item in &command.cases {
                    self.list(&item.body, around);
                }
            }
            CompoundCommand::Subshell(list) | CompoundCommand::BraceGroup(list) => {
                self.list(list, around);
            }
            CompoundCommand::Time(command) => {
                if let Some(stmt) = &command.command {
                    self.stmt(stmt, around);
                }
            }
            CompoundCommand::Conditional(command) => self.condition(&command.expression, around),
            CompoundCommand::Coproc(command) => self.stmt(&command.body, around),
            CompoundCommand::Always(command) => {
                self.list(&command.body, around);
                self.list(&command.always_body, around);
            }
            CompoundCommand::Arithmetic(command) => {
                // Commands inside `(( ... ))` are seen by the words that they are in.
                if let Some(span) = command.expr_span {
                    let text = self.slice(span).to_owned();
                    self.arithmetic(&text, self.place(span), around);
                }
            }
        }
    }

    /// The commands that an arithmetic expression asks.
    fn arithmetic(&mut self, text: &str, place: Place, around: &Around) {
        if !text.contains("$(") {
            return;
        }
        let mut inside = Script::new(self.script.found);
        inside.push(
            &format!(": \"{text}\""),
            Place {
                line: place.line,
                column: place.column.saturating_sub(3),
            },
        );
        let around = Around {
            shells: true,
            decides: true,
            ..around.clone()
        };
        nested(&inside, self.index, self.commands, &around, self.depth + 1);
    }

    fn polling(&mut self, test: &StmtSeq, body: &StmtSeq, span: Span, around: &Around) {
        let around = self.in_loop(around, span, None);
        let condition = Around {
            decides: true,
            polled: true,
            ..around.clone()
        };
        self.list(test, &condition);
        self.list(body, &around);
    }

    fn condition(&mut self, expression: &ConditionalExpr, around: &Around) {
        match expression {
            ConditionalExpr::Binary(binary) => {
                self.condition(&binary.left, around);
                self.condition(&binary.right, around);
            }
            ConditionalExpr::Unary(unary) => self.condition(&unary.expr, around),
            ConditionalExpr::Parenthesized(inside) => self.condition(&inside.expr, around),
            ConditionalExpr::Word(word) | ConditionalExpr::Regex(word) => {
                self.word(word, around);
            }
            ConditionalExpr::Pattern(_) | ConditionalExpr::VarRef(_) => {}
        }
    }
}

//! From the parser's tree to calls.

mod compound;

use shuck_ast::{
    Assignment, AssignmentValue, BinaryCommand, BinaryOp, BuiltinCommand, Command, Comment,
    DeclOperand, File, HeredocBodyPart, LiteralText, Redirect, RedirectKind, RedirectTarget,
    SimpleCommand, Span, Stmt, StmtSeq, StmtTerminator, WordPart, WordPartNode,
};

use super::{Call, Commands, Pipe, Word, nested};
use crate::lint::text::{Place, Script};
use crate::lint::wrappers::{self, Unwrapped};

/// What stands around the command that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    loops: Vec<usize>,
    decides: bool,
    polled: bool,
    pipe: Option<Pipe>,
    captured: Option<String>,
    output: Option<String>,
    comment: String,
    background: bool,
    pod: Option<Word>,
    shells: bool,
}

pub(super) struct Walk<'a> {
    pub source: &'a str,
    pub script: &'a Script,
    pub index: usize,
    pub commands: &'a mut Commands,
    pub depth: usize,
}

impl Walk<'_> {
    pub fn file(&mut self, file: &File, around: &Around) {
        self.list(&file.body, around);
    }

    fn place(&self, span: Span) -> Place {
        self.script.place(span.start.line(), span.start.column())
    }

    fn slice(&self, span: Span) -> &str {
        self.source
            .get(span.start.offset()..span.end.offset())
            .unwrap_or_default()
    }

    /// Takes comments down; says what they say.
    fn comments<'c>(&mut self, comments: impl IntoIterator<Item = &'c Comment>) -> String {
        let mut said = String::new();
        for comment in comments {
            let text = comment.range.slice(self.source);
            let text = text.trim_start_matches('#').trim().to_owned();
            said.push_str(&text);
            said.push(' ');
            let place = self.script.place_of(usize::from(comment.range.start()));
            self.commands.comments.push((place, text));
        }
        said
    }

    fn list(&mut self, list: &StmtSeq, around: &Around) {
        let mut above = self.comments(&list.leading_comments);
        for stmt in list.iter() {
            let said = self.comments(&stmt.leading_comments);
            let said = std::mem::take(&mut above) + &said;
            let beside = self.comments(&stmt.inline_comment);
            let around = Around {
                comment: format!("{}{said}{beside}", around.comment),
                ..around.clone()
            };
            self.stmt(stmt, &around);
        }
        self.comments(&list.trailing_comments);
    }

    fn stmt(&mut self, stmt: &Stmt, around: &Around) {
        let mut around = around.clone();
        around.decides |= stmt.negated;
        around.background |= matches!(stmt.terminator, Some(StmtTerminator::Background(_)));
        let mut input = None;
        for redirect in &stmt.redirects {
            self.redirect(redirect, &mut around, &mut input);
        }
        match &stmt.command {
            Command::Simple(simple) => self.simple(simple, &around, input),
            Command::Builtin(builtin) => self.builtin(builtin, &around),
            Command::Decl(clause) => {
                self.assignments(&clause.assignments, &around);
                for operand in &clause.operands {
                    match operand {
                        DeclOperand::Assignment(assignment) => self.assignment(assignment, &around),
                        DeclOperand::Flag(word) | DeclOperand::Dynamic(word) => {
                            self.word(word, &around);
                        }
                        DeclOperand::Name(_) => {}
                    }
                }
            }
            Command::Binary(binary) => self.binary(binary, &around),
            Command::Compound(compound) => {
                around.comment.clear();
                self.compound(compound, &around);
            }
            Command::Function(function) => self.stmt(&function.body, &around),
            Command::AnonymousFunction(function) => self.stmt(&function.body, &around),
        }
    }

    fn redirect(
        &mut self,
        redirect: &Redirect,
        around: &mut Around,
        input: &mut Option<(String, Place)>,
    ) {
        match &redirect.target {
            RedirectTarget::Word(word) => {
                let word = self.word(word, around);
                let is_output = matches!(
                    redirect.kind,
                    RedirectKind::Output | RedirectKind::Clobber | RedirectKind::Append
                );
                if is_output && redirect.fd.is_none_or(|fd| fd == 1) {
                    around.output = Some(word.text);
                } else if redirect.kind == RedirectKind::HereString {
                    *input = Some((word.text, word.place));
                }
            }
            RedirectTarget::Heredoc(heredoc) => {
                for part in &heredoc.body.parts {
                    if let HeredocBodyPart::CommandSubstitution { body, .. } = &part.kind {
                        let around = self.captured(around, "");
                        self.list(body, &around);
                    }
                }
                let text = self.slice(heredoc.body.span).to_owned();
                *input = Some((text, self.place(heredoc.body.span)));
            }
        }
    }

    fn captured(&self, around: &Around, variable: &str) -> Around {
        Around {
            loops: around.loops.clone(),
            captured: Some(variable.to_owned()),
            comment: around.comment.clone(),
            pod: around.pod.clone(),
            decides: around.decides,
            polled: around.polled,
            ..Around::default()
        }
    }

    fn assignments(&mut self, assignments: &[Assignment], around: &Around) {
        for assignment in assignments {
            self.assignment(assignment, around);
        }
    }

    fn assignment(&mut self, assignment: &Assignment, around: &Around) {
        let name = assignment.target.name.as_str().to_owned();
        match &assignment.value {
            AssignmentValue::Scalar(word) => {
                let mut out = self.begin(word.span);
                self.parts(&word.parts, around, &name, &mut out);
                if !out.dynamic {
                    self.commands.values.push((name, out.text));
                }
            }
            AssignmentValue::Compound(array) => {
                for element in &array.elements {
                    self.word(element.value(), around);
                }
            }
        }
    }

    fn begin(&self, span: Span) -> Word {
        Word {
            place: self.place(span),
            ..Word::default()
        }
    }

    fn word(&mut self, word: &shuck_ast::Word, around: &Around) -> Word {
        let mut out = self.begin(word.span);
        self.parts(&word.parts, around, "", &mut out);
        out
    }

    fn parts(&mut self, parts: &[WordPartNode], around: &Around, variable: &str, out: &mut Word) {
        for part in parts {
            match &part.kind {
                WordPart::Literal(text) => match text {
                    LiteralText::Source => {
                        // Only what is cooked has lost its backslashes.
                        unescape(self.slice(part.span), &mut out.text);
                    }
                    LiteralText::Owned(text) | LiteralText::CookedSource(text) => {
                        out.text.push_str(text);
                    }
                },
                WordPart::SingleQuoted { value, .. } => {
                    if value.is_source_backed() {
                        let text = self.slice(value.span()).to_owned();
                        out.text.push_str(&text);
                    } else {
                        out.text.push_str(value.slice(self.source));
                    }
                }
                WordPart::DoubleQuoted { parts, .. } => self.parts(parts, around, variable, out),
                WordPart::Variable(name) => {
                    out.dynamic = true;
                    out.text.push('$');
                    out.text.push_str(name.as_str());
                }
                WordPart::CommandSubstitution { body, .. }
                | WordPart::ProcessSubstitution { body, .. } => {
                    out.dynamic = true;
                    out.text.push_str("$(...)");
                    let around = self.captured(around, variable);
                    self.list(body, &around);
                }
                _ => {
                    out.dynamic = true;
                    let text = self.slice(part.span).to_owned();
                    out.text.push_str(&text);
                }
            }
        }
    }

    fn builtin(&mut self, builtin: &BuiltinCommand, around: &Around) {
        let (name, code, span) = match builtin {
            BuiltinCommand::Break(b) => ("break", &b.depth, b.span),
            BuiltinCommand::Continue(b) => ("continue", &b.depth, b.span),
            BuiltinCommand::Return(b) => ("return", &b.code, b.span),
            BuiltinCommand::Exit(b) => ("exit", &b.code, b.span),
        };
        let mut words = vec![Word {
            text: name.to_owned(),
            place: self.place(span),
            dynamic: false,
        }];
        if let Some(code) = code {
            words.push(self.word(code, around));
        }
        self.emit(words, around, None);
    }

    fn simple(&mut self, simple: &SimpleCommand, around: &Around, input: Option<(String, Place)>) {
        self.assignments(&simple.assignments, around);
        let mut words = Vec::with_capacity(simple.args.len() + 1);
        words.push(self.word(&simple.name, around));
        for word in &simple.args {
            words.push(self.word(word, around));
        }
        if words.len() == 1 && words[0].text.is_empty() {
            return;
        }
        self.emit(words, around, input);
    }

    /// Adds a call, and the calls inside it.
    fn emit(&mut self, words: Vec<Word>, around: &Around, input: Option<(String, Place)>) {
        let mut call = Call {
            words,
            script: self.index,
            pod: around.pod.clone(),
            loops: around.loops.clone(),
            decides: around.decides,
            polled: around.polled,
            pipe: around.pipe,
            captured: around.captured.clone(),
            output: around.output.clone(),
            input,
            comment: around.comment.clone(),
            wrappers: Vec::new(),
            background: around.background,
            inner: around.shells,
        };
        // Each turn takes at least one word off.
        loop {
            match wrappers::unwrap(&call) {
                Unwrapped::Plain => break self.commands.add(call),
                Unwrapped::Wrapper { name, rest } => {
                    call.wrappers.push(name);
                    call.words.drain(..rest.min(call.words.len()));
                    if call.words.is_empty() {
                        break;
                    }
                }
                Unwrapped::Pod { pod, rest } => {
                    let inner = Call {
                        words: call.words.get(rest..).unwrap_or_default().to_vec(),
                        pod: Some(pod),
                        inner: true,
                        ..call.clone()
                    };
                    self.commands.add(call);
                    if inner.words.is_empty() {
                        break;
                    }
                    call = inner;
                }
                Unwrapped::Shell { script } => {
                    let text = call.words.get(script).cloned().unwrap_or_default();
                    let around = Around {
                        pod: call.pod.clone(),
                        shells: true,
                        ..around.clone()
                    };
                    self.commands.add(call);
                    let mut inside = Script::new(self.script.found);
                    for (offset, line) in text.text.lines().enumerate() {
                        let column = if offset == 0 {
                            text.place.column + 1
                        } else {
                            1
                        };
                        let line_number = text.place.line + u32::try_from(offset).unwrap_or(0);
                        inside.push(
                            line,
                            Place {
                                line: line_number,
                                column,
                            },
                        );
                    }
                    nested(&inside, self.index, self.commands, &around, self.depth + 1);
                    break;
                }
            }
        }
    }

    fn binary(&mut self, binary: &BinaryCommand, around: &Around) {
        match binary.op {
            BinaryOp::And | BinaryOp::Or => {
                let left = Around {
                    decides: true,
                    ..around.clone()
                };
                self.stmt(&binary.left, &left);
                self.stmt(&binary.right, around);
            }
            BinaryOp::Pipe | BinaryOp::PipeAll => {
                let id = match around.pipe {
                    Some(pipe) => pipe.id,
                    None => {
                        self.commands.pipes += 1;
                        self.commands.pipes
                    }
                };
                let start = around.pipe.map_or(0, |pipe| pipe.index);
                // Left-nested: the left side holds all but the last command.
                let before = commands_in(&binary.left);
                let left = Around {
                    pipe: Some(Pipe { id, index: start }),
                    output: None,
                    ..around.clone()
                };
                self.stmt(&binary.left, &left);
                let right = Around {
                    pipe: Some(Pipe {
                        id,
                        index: start + before,
                    }),
                    ..around.clone()
                };
                self.stmt(&binary.right, &right);
            }
        }
    }
}

/// How many commands a side of a pipeline has.
fn commands_in(stmt: &Stmt) -> usize {
    let mut count = 1;
    let mut stmt = stmt;
    while let Command::Binary(binary) = &stmt.command {
        if !matches!(binary.op, BinaryOp::Pipe | BinaryOp::PipeAll) {
            break;
        }
        count += 1;
        stmt = &binary.left;
    }
    count
}

/// A literal of the source without its backslashes and broken lines.
fn unescape(text: &str, out: &mut String) {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') => {}
                // `\n` in double quotes stays as it is; so do the words of jsonpath and regexes.
                Some(next)
                    if matches!(
                        next,
                        '"' | '\\'
                            | '$'
                            | '`'
                            | ' '
                            | '\''
                            | '('
                            | ')'
                            | '&'
                            | ';'
                            | '|'
                            | '<'
                            | '>'
                            | '*'
                            | '?'
                            | '#'
                            | '{'
                            | '}'
                            | '['
                            | ']'
                    ) =>
                {
                    out.push(next);
                }
                Some(next) => {
                    out.push('\\');
                    out.push(next);
                }
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
}

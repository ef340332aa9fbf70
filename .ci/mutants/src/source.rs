//! Finds the places of a file that can be changed, and writes them with all changes at once.

use std::ops::Range;

use proc_macro2::Span;
use syn::{
    BinOp, Block, Expr, ExprBinary, ImplItemFn, ItemFn, Pat, ReturnType, Signature, Stmt,
    TraitItemFn, Type, UnOp,
    spanned::Spanned,
    visit::{self, Visit},
};

/// One change of one place.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// What the environment variable selects it by.
    pub number: usize,
    pub file: String,
    pub line: usize,
    /// The function that it is in, and the type or trait that has it.
    function: String,
    owner: Option<String>,
    /// What is changed, and to what.
    pub change: String,
    /// Text that is put before and after the place.
    place: Range<usize>,
    before: String,
    after: String,
}

impl Mutant {
    /// The same in each run for as long as the code stays where it is.
    pub fn key(&self) -> String {
        let Self {
            file,
            line,
            function,
            change,
            ..
        } = self;
        format!("{file}:{line}: in `{function}`, {change}")
    }

    pub fn shown(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.named())
    }

    /// What `equivalent.md` names it by, wherever in its file it is by now.
    pub fn entry(&self) -> String {
        format!("- {}: {}", self.file, self.named())
    }

    fn named(&self) -> String {
        let Self {
            function, change, ..
        } = self;
        match &self.owner {
            Some(owner) => format!("in `{owner}::{function}`, {change}"),
            None => format!("in `{function}`, {change}"),
        }
    }
}

/// Every change of a file that can be expressed, numbered from `first`.
pub fn find(file: &str, text: &str, first: usize) -> syn::Result<Vec<Mutant>> {
    let parsed = syn::parse_file(text)?;
    let mut finder = Finder {
        file,
        text,
        first,
        function: String::new(),
        owner: None,
        found: Vec::new(),
    };
    finder.visit_file(&parsed);
    Ok(finder.found)
}

/// The text with every change in it, and where in it each one's own text is.
pub fn write(text: &str, mutants: &[&Mutant]) -> (String, Vec<(usize, Range<usize>)>) {
    // What closes comes before what opens, and the inner one closes first and opens last.
    let mut parts: Vec<(usize, bool, isize, isize, usize, &str)> = Vec::new();
    for (order, mutant) in mutants.iter().enumerate() {
        let Range { start, end } = mutant.place;
        let (length, rank) = ((end - start) as isize, order as isize);
        if start == end {
            parts.push((start, true, -length, rank, mutant.number, &mutant.before));
            continue;
        }
        parts.push((end, false, length, -rank, mutant.number, &mutant.after));
        parts.push((start, true, -length, rank, mutant.number, &mutant.before));
    }
    parts.sort_by_key(|&(at, opens, length, rank, ..)| (at, opens, length, rank));

    let (mut written, mut places, mut copied) = (String::new(), Vec::new(), 0);
    for (at, _, _, _, number, part) in parts {
        written.push_str(&text[copied..at]);
        copied = at;
        let start = written.len();
        written.push_str(part);
        places.push((number, start..written.len()));
    }
    written.push_str(&text[copied..]);
    (written, places)
}

struct Finder<'a> {
    file: &'a str,
    text: &'a str,
    first: usize,
    function: String,
    owner: Option<String>,
    found: Vec<Mutant>,
}

impl Finder<'_> {
    fn text(&self, of: &impl Spanned) -> &str {
        &self.text[of.span().byte_range()]
    }

    fn add(&mut self, at: Span, place: Range<usize>, change: String, before: &str, after: &str) {
        let number = self.first + self.found.len();
        let change = change.split_whitespace().collect::<Vec<_>>().join(" ");
        self.found.push(Mutant {
            number,
            file: self.file.to_owned(),
            line: at.start().line,
            function: self.function.clone(),
            owner: self.owner.clone(),
            change,
            place,
            before: before.replace("N!", &number.to_string()),
            after: after.to_owned(),
        });
    }

    /// Another expression instead of this one.
    fn instead(&mut self, of: &Expr, with: &str) {
        let change = format!("`{}` becomes `{with}`", self.text(of));
        let before = format!("(if crate::mutant_switch::on(N!) {{ {with} }} else {{ ");
        self.add(of.span(), of.span().byte_range(), change, &before, " })");
    }

    fn condition(&mut self, of: &Expr, values: &[&str]) {
        if !binds(of) {
            for value in values {
                self.instead(of, value);
            }
        }
    }

    fn function(&mut self, signature: &Signature, body: &Block) {
        self.function = signature.ident.to_string();
        let start = body.brace_token.span.open().byte_range().end;
        let body = self.text[start..body.brace_token.span.close().byte_range().start].trim();
        let values: Vec<String> = match &signature.output {
            ReturnType::Default => vec![String::new()],
            ReturnType::Type(_, output) => values(output),
        };
        for value in values.into_iter().filter(|value| value != body) {
            let change = format!("it returns `{value}`");
            let before = format!(" if crate::mutant_switch::on(N!) {{ return {value}; }} ");
            self.add(signature.ident.span(), start..start, change, &before, "");
        }
    }
}

/// What a function of this type can return without knowing anything.
fn values(output: &Type) -> Vec<String> {
    let one = |value: &str| vec![value.to_owned()];
    let Type::Path(path) = output else {
        return match output {
            Type::Tuple(tuple) if tuple.elems.is_empty() => one("()"),
            Type::Reference(_) => one("Default::default()"),
            _ => Vec::new(),
        };
    };
    let Some(last) = path.path.segments.last() else {
        return Vec::new();
    };
    let first_argument = || match &last.arguments {
        syn::PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
            Some(syn::GenericArgument::Type(argument)) => values(argument),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let wrapped = |with: &str| -> Vec<String> {
        let inner = first_argument().into_iter();
        inner.map(|value| format!("{with}({value})")).collect()
    };
    match last.ident.to_string().as_str() {
        "bool" => vec!["true".into(), "false".into()],
        "Option" => one("None"),
        "Result" => wrapped("Ok"),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => vec!["0".into(), "1".into()],
        // Would wait for ever, or leave nothing to compare.
        "Poll" | "Self" | "Box" | "Pin" => Vec::new(),
        _ => one("Default::default()"),
    }
}

/// Whether a condition has a `let`, which is no expression of its own.
fn binds(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(ExprBinary { left, right, .. }) => binds(left) || binds(right),
        _ => false,
    }
}

fn takes_all(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) => true,
        // A constant or a variant otherwise.
        Pat::Ident(name) => name.ident.to_string().starts_with(char::is_lowercase),
        _ => false,
    }
}

/// Whether it is compiled for tests alone, and not a part of the library.
fn is_left_out(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg = attribute.path().is_ident("cfg");
        cfg && matches!(&attribute.meta, syn::Meta::List(list)
            if list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test"))
    })
}

fn swapped(operator: &BinOp) -> &'static [&'static str] {
    match operator {
        BinOp::And(_) => &["||"],
        BinOp::Or(_) => &["&&"],
        BinOp::Eq(_) => &["!="],
        BinOp::Ne(_) => &["=="],
        BinOp::Lt(_) => &["<=", ">"],
        BinOp::Le(_) => &["<", ">"],
        BinOp::Gt(_) => &[">=", "<"],
        BinOp::Ge(_) => &[">", "<"],
        BinOp::Add(_) => &["-"],
        BinOp::Sub(_) => &["+"],
        BinOp::Mul(_) | BinOp::Div(_) => &["+"],
        BinOp::BitAnd(_) => &["|"],
        BinOp::BitOr(_) => &["&"],
        BinOp::Shl(_) => &[">>"],
        BinOp::Shr(_) => &["<<"],
        BinOp::AddAssign(_) => &["-="],
        BinOp::SubAssign(_) => &["+="],
        BinOp::BitOrAssign(_) => &["&="],
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        // Constants can't ask which number is on.
        match item {
            syn::Item::Const(_) | syn::Item::Static(_) | syn::Item::Macro(_) => {}
            syn::Item::Mod(module) if is_left_out(&module.attrs) => {}
            item => visit::visit_item(self, item),
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let shows = item.trait_.as_ref().is_some_and(|(_, path, _)| {
            let last = path.segments.last().map(|last| last.ident.to_string());
            matches!(last.as_deref(), Some("Debug" | "Display" | "Error"))
        });
        if !shows && !is_left_out(&item.attrs) {
            self.owner = match &*item.self_ty {
                Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
                _ => None,
            };
            visit::visit_item_impl(self, item);
            self.owner = None;
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.owner = Some(item.ident.to_string());
        visit::visit_item_trait(self, item);
        self.owner = None;
    }

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_type(&mut self, _: &'ast Type) {}

    fn visit_pat(&mut self, _: &'ast syn::Pat) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if item.sig.constness.is_none() && !is_left_out(&item.attrs) {
            self.function(&item.sig, &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if item.sig.constness.is_none() && !is_left_out(&item.attrs) {
            self.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let (None, Some(body)) = (&item.sig.constness, &item.default) {
            self.function(&item.sig, body);
            visit::visit_trait_item_fn(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Expr(expression, Some(_)) = statement {
            let deletable = matches!(
                expression,
                Expr::Call(_)
                    | Expr::MethodCall(_)
                    | Expr::Assign(_)
                    | Expr::Return(_)
                    | Expr::Binary(_)
            );
            if deletable {
                let change = format!("`{}` is left out", self.text(statement));
                let (before, after) = ("if !crate::mutant_switch::on(N!) { ", " }");
                let span = statement.span();
                self.add(span, span.byte_range(), change, before, after);
            }
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        self.condition(&expression.cond, &["true", "false"]);
        visit::visit_expr_if(self, expression);
    }

    fn visit_expr_while(&mut self, expression: &'ast syn::ExprWhile) {
        self.condition(&expression.cond, &["false"]);
        visit::visit_expr_while(self, expression);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        // The last arm takes what another one took before only where it takes everything.
        let (all, left_out) = match expression.arms.split_last() {
            Some((last, others)) if last.guard.is_none() && takes_all(&last.pat) => (others, true),
            _ => (expression.arms.as_slice(), false),
        };
        for arm in all {
            if let Some((_, guard)) = &arm.guard {
                self.condition(guard, &["true", "false"]);
            } else if left_out {
                let change = format!("the arm `{}` is left out", self.text(&arm.pat));
                let end = arm.pat.span().byte_range().end;
                let before = " if !crate::mutant_switch::on(N!) ";
                self.add(arm.pat.span(), end..end, change, before, "");
            }
        }
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        match expression {
            Expr::Const(_) | Expr::Repeat(_) => return,
            Expr::Binary(binary) if !binds(expression) => {
                let (left, right) = (self.text(&binary.left), self.text(&binary.right));
                let changed: Vec<String> = swapped(&binary.op)
                    .iter()
                    .map(|operator| format!("{left} {operator} {right}"))
                    .collect();
                for with in changed {
                    self.instead(expression, &with);
                }
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                let with = self.text(&unary.expr).to_owned();
                self.instead(expression, &with);
            }
            Expr::Macro(found) if found.mac.path.is_ident("matches") => {
                let with = format!("!{}", self.text(expression));
                self.instead(expression, &with);
            }
            Expr::Call(call) if matches!(&*call.func, Expr::Path(path) if path.path.is_ident("Some")) =>
            {
                self.instead(expression, "None");
            }
            Expr::MethodCall(call) => {
                let other = match call.method.to_string().as_str() {
                    "any" => "all",
                    "all" => "any",
                    "is_some" => "is_none",
                    "is_none" => "is_some",
                    "is_ok" => "is_err",
                    "is_err" => "is_ok",
                    "min" => "max",
                    "max" => "min",
                    "first" => "last",
                    "last" => "first",
                    "or" => "and",
                    "starts_with" => "ends_with",
                    _ => "",
                };
                if !other.is_empty() {
                    let place = expression.span().byte_range();
                    let method = call.method.span().byte_range();
                    let (head, tail) = (
                        &self.text[place.start..method.start],
                        &self.text[method.end..place.end],
                    );
                    let with = format!("{head}{other}{tail}");
                    self.instead(expression, &with);
                }
            }
            Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Bool(value) => {
                    self.instead(expression, if value.value { "false" } else { "true" })
                }
                syn::Lit::Int(value) => {
                    if let Ok(value) = value.base10_parse::<u64>() {
                        self.instead(expression, &(value + 1).to_string());
                    }
                }
                _ => {}
            },
            _ => {}
        }
        visit::visit_expr(self, expression);
    }
}

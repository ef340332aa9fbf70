//! The kinds of agents, which all users share. A kind says what an agent does; what it may touch
//! comes with the user's [`AgentFactory`](crate::factory::AgentFactory), and is never kept here.

/// A kind of agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    /// What the model is asked, one after the other; `{input}` is what the user wrote, and
    /// `{earlier}` what the same user wrote before.
    pub(crate) prompts: &'static [&'static str],
}

pub(crate) const KINDS: [Kind; 3] = [
    Kind {
        name: "answer",
        says: "answers in one step",
        prompts: &["{input}"],
    },
    Kind {
        name: "outline",
        says: "works in three steps",
        prompts: &[
            "Outline of {input}.",
            "Draft of {input}.",
            "Review of {input}.",
        ],
    },
    Kind {
        name: "recall",
        says: "uses what you asked before, in all your threads",
        prompts: &["{input}, after {earlier}"],
    },
];

/// Returns the kind of this name.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

//! What the buttons of the page send, and what has to come back.

use serde::Serialize;

use self::{
    Action::{Begin, Cancel, Finish, Send},
    Who::{Alice, Bob},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    Alice,
    Bob,
}

impl Who {
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }

    /// Returns the note that is in the database before each scenario.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Alice => "Contoso offers 4.2 million",
            Self::Bob => "see the doctor on Friday",
        }
    }

    /// Returns a word that is in all of this user's notes and nowhere else.
    fn secret(self) -> &'static str {
        match self {
            Self::Alice => "Contoso",
            Self::Bob => "doctor",
        }
    }

    /// Returns whether a text contains a note of the other user.
    pub(crate) fn must_not_see(self, text: &str) -> bool {
        let other = match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        };
        text.contains(other.secret())
    }
}

pub(crate) enum Action {
    /// Sends a request and reads the response.
    Send(&'static str),
    /// Sends a request and goes on when the service waits for the model.
    Begin(&'static str),
    /// Closes the connection of the request that was begun first.
    Cancel,
    /// Lets the model answer, and reads the response to the request that was begun first.
    Finish,
}

pub(crate) struct Step {
    pub(crate) who: Who,
    pub(crate) says: &'static str,
    pub(crate) action: Action,
    /// The status of the service with the layer, where the step gets one.
    pub(crate) with_layer: Option<u16>,
}

const fn step(who: Who, says: &'static str, action: Action, with_layer: Option<u16>) -> Step {
    Step {
        who,
        says,
        action,
        with_layer,
    }
}

pub(crate) struct Scenario {
    /// Its name in URLs.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) says: &'static str,
    pub(crate) steps: &'static [Step],
    pub(crate) leaks_by_hand: bool,
}

/// In the order of the page.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ordinary",
        title: "Ordinary requests",
        says: "Alice and Bob read their own notes. Both services work.",
        leaks_by_hand: false,
        steps: &[
            step(
                Alice,
                "comes through the gateway, which checked her login",
                Send(
                    "GET /notes HTTP/1.1\nx-user-id: alice\nx-gateway-secret: demo-gateway-secret",
                ),
                Some(200),
            ),
            step(
                Bob,
                "has a script with his token",
                Send("GET /notes HTTP/1.1\nauthorization: Bearer bob.Zw81mNpd"),
                Some(200),
            ),
        ],
    },
    Scenario {
        name: "spoofed-header",
        title: "A spoofed header",
        says: "Bob writes Alice's name into the header that the gateway sets, then into a cookie.",
        leaks_by_hand: true,
        steps: &[
            step(
                Bob,
                "sends the header himself, past the gateway",
                Send("GET /notes HTTP/1.1\nx-user-id: alice"),
                Some(401),
            ),
            step(
                Bob,
                "tries a cookie",
                Send("GET /notes HTTP/1.1\ncookie: user=alice"),
                Some(401),
            ),
        ],
    },
    Scenario {
        name: "repeated-header",
        title: "A repeated header",
        says: "The gateway appends its header to what the client sent, instead of replacing it.",
        leaks_by_hand: true,
        steps: &[step(
            Bob,
            "sends Alice's name; the gateway adds his own",
            Send(
                "GET /notes HTTP/1.1\nx-user-id: alice\nx-user-id: bob\n\
                 x-gateway-secret: demo-gateway-secret",
            ),
            Some(400),
        )],
    },
    Scenario {
        name: "forged-token",
        title: "A forged token",
        says: "Bob knows what a token looks like, and makes one with Alice's name.",
        leaks_by_hand: true,
        steps: &[step(
            Bob,
            "guesses the secret part",
            Send("GET /notes HTTP/1.1\nauthorization: Bearer alice.guessed"),
            Some(401),
        )],
    },
    Scenario {
        name: "broken-token",
        title: "A broken token",
        says: "Two clients send damaged tokens. By hand, both of them become the default user.",
        leaks_by_hand: true,
        steps: &[
            step(
                Alice,
                "writes a note with half of her token",
                Send("POST /notes HTTP/1.1\nauthorization: Bearer alice\n\nlunch with Contoso"),
                Some(401),
            ),
            step(
                Bob,
                "reads his notes with half of his token",
                Send("GET /notes HTTP/1.1\nauthorization: Bearer bob"),
                Some(401),
            ),
        ],
    },
    Scenario {
        name: "two-credentials",
        title: "Two users' credentials",
        says: "One request carries Alice's token and, from the gateway, Bob's login.",
        leaks_by_hand: true,
        steps: &[
            step(
                Alice,
                "writes a note with her token, from Bob's browser",
                Send(
                    "POST /notes HTTP/1.1\nauthorization: Bearer alice.K3vT9qLx\n\
                     x-user-id: bob\nx-gateway-secret: demo-gateway-secret\n\n\
                     Contoso accepts",
                ),
                Some(401),
            ),
            step(
                Bob,
                "reads his notes",
                Send("GET /notes HTTP/1.1\nx-user-id: bob\nx-gateway-secret: demo-gateway-secret"),
                Some(200),
            ),
        ],
    },
    Scenario {
        name: "two-at-once",
        title: "Two at the same time",
        says: "Alice's agent waits for the language model. Meanwhile Bob's agent begins.",
        leaks_by_hand: true,
        steps: &[
            step(
                Alice,
                "starts a run",
                Begin(
                    "POST /runs HTTP/1.1\nauthorization: Bearer alice.K3vT9qLx\n\n\
                     what Contoso can pay",
                ),
                None,
            ),
            step(
                Bob,
                "starts a run, too",
                Begin(
                    "POST /runs HTTP/1.1\nauthorization: Bearer bob.Zw81mNpd\n\n\
                     the doctor's address",
                ),
                None,
            ),
            step(Alice, "gets her result", Finish, Some(200)),
            step(Bob, "gets his result", Finish, Some(200)),
            step(
                Bob,
                "reads his notes",
                Send("GET /notes HTTP/1.1\nauthorization: Bearer bob.Zw81mNpd"),
                Some(200),
            ),
        ],
    },
    Scenario {
        name: "cancelled",
        title: "A cancelled request",
        says: "Alice closes her browser while her agent works. The clean-up after the handler never runs.",
        leaks_by_hand: true,
        steps: &[
            step(
                Alice,
                "starts a run",
                Begin(
                    "POST /runs HTTP/1.1\nx-user-id: alice\n\
                     x-gateway-secret: demo-gateway-secret\n\n\
                     what Contoso can pay",
                ),
                None,
            ),
            step(Alice, "closes the connection", Cancel, None),
            step(
                Bob,
                "is not logged in yet",
                Send("GET /notes HTTP/1.1"),
                Some(401),
            ),
        ],
    },
    Scenario {
        name: "kept-factory",
        title: "A kept factory",
        says: "A cache in the application keeps Alice's object and uses it in Bob's request.",
        leaks_by_hand: true,
        steps: &[
            step(
                Alice,
                "pins her agent",
                Send(
                    "POST /pinned HTTP/1.1\nauthorization: Bearer alice.K3vT9qLx\n\n\
                     call Contoso at nine",
                ),
                Some(200),
            ),
            step(
                Bob,
                "gets the agent that is pinned",
                Send("GET /pinned HTTP/1.1\nauthorization: Bearer bob.Zw81mNpd"),
                Some(500),
            ),
        ],
    },
];

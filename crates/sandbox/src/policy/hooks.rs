//! Which program hangs on which tree.

/// One of the two subtrees of dynos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Central,
    Isolated,
}

/// A program of `port.bpf.c`, attached once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) program: &'static str,
    /// `enum bpf_attach_type` of linux/bpf.h.
    pub(super) at: u32,
    pub(super) tree: Tree,
}

impl Link {
    /// The name of its pin.
    pub(super) fn pin(&self) -> String {
        match self.tree {
            Tree::Central => self.program.to_owned(),
            Tree::Isolated => format!("isolated_{}", self.program),
        }
    }
}

const fn central(program: &'static str, at: u32) -> Link {
    Link {
        program,
        at,
        tree: Tree::Central,
    }
}

const fn isolated(program: &'static str, at: u32) -> Link {
    Link {
        program,
        at,
        tree: Tree::Isolated,
    }
}

/// How many of the first ones are the law: any one of the others may be missing, and still no port
/// is open.
pub(super) const LAW: usize = 3;

/// All of them. The law comes first: while they are attached one by one nothing is open.
pub(super) const LINKS: [Link; 21] = [
    central("ingress", 0),
    central("egress", 1),
    central("sock_create", 2),
    central("setsockopt", 22),
    central("bind4", 8),
    central("bind6", 9),
    central("connect4", 10),
    central("connect6", 11),
    central("sendmsg4", 14),
    central("sendmsg6", 15),
    central("recvmsg4", 19),
    central("recvmsg6", 20),
    central("getpeername4", 29),
    central("getpeername6", 30),
    central("getsockname4", 31),
    central("getsockname6", 32),
    central("listened", 3),
    isolated("sock_remember", 2),
    isolated("bind4_remember", 8),
    isolated("bind6_remember", 9),
    isolated("listened", 3),
];

//! What an event is about, as the number that epoll keeps.

/// What an event is about. The number is a client's, a sandbox's or a volume's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Listener,
    Client(u32),
    Channel(u32),
    End(u32),
    Format(u32),
    Lifeline(u32),
    Pool,
    Policy,
    Rules,
}

impl Source {
    pub(super) fn token(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Client(n) => (1, n),
            Self::Channel(n) => (2, n),
            Self::End(n) => (3, n),
            Self::Format(n) => (4, n),
            Self::Lifeline(n) => (5, n),
            Self::Pool => (6, 0),
            Self::Policy => (7, 0),
            Self::Rules => (8, 0),
        };
        kind << 32 | u64::from(number)
    }

    pub(super) fn of_token(token: u64) -> Option<Self> {
        let number = u32::try_from(token & u64::from(u32::MAX)).ok()?;
        Some(match token >> 32 {
            0 => Self::Listener,
            1 => Self::Client(number),
            2 => Self::Channel(number),
            3 => Self::End(number),
            4 => Self::Format(number),
            5 => Self::Lifeline(number),
            6 => Self::Pool,
            7 => Self::Policy,
            8 => Self::Rules,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_their_tokens() {
        let all = [
            Source::Listener,
            Source::Client(7),
            Source::Channel(u32::MAX),
            Source::End(1),
            Source::Format(2),
            Source::Lifeline(3),
            Source::Pool,
            Source::Policy,
            Source::Rules,
        ];
        for source in all {
            assert_eq!(Source::of_token(source.token()), Some(source));
        }
        assert_eq!(Source::of_token(u64::MAX), None);
    }
}

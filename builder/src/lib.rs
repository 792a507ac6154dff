//! Placeholder line, replaced in the commit that fills this room.

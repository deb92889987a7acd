//! Which members of an object a table shows.

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) header: &'static str,
    /// The member that it shows.
    pub(crate) key: &'static str,
    pub(super) form: Form,
    pub(super) only_wide: bool,
    pub(super) whole: bool,
}

/// How a value becomes a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// A time, shown as how long ago it was.
    Age,
    /// Milliseconds, shown as a length of time.
    Lapse,
    /// A kind and an id, of which the beginning is enough where there is no room.
    Brief,
}

/// A column that shows a member as it is.
pub(crate) const fn column(header: &'static str, key: &'static str) -> Column {
    Column {
        header,
        key,
        form: Form::Plain,
        only_wide: false,
        whole: false,
    }
}

/// A column that shows how many milliseconds long something has been so.
pub(crate) const fn lapse(header: &'static str, key: &'static str) -> Column {
    Column {
        form: Form::Lapse,
        ..column(header, key)
    }
}

/// A column that shows how long ago a time was.
pub(crate) const fn age(header: &'static str, key: &'static str) -> Column {
    Column {
        form: Form::Age,
        ..column(header, key)
    }
}

/// A column that shows `kind/id`, with the id cut short unless everything is shown.
pub(crate) const fn brief(header: &'static str, key: &'static str) -> Column {
    Column {
        form: Form::Brief,
        ..column(header, key)
    }
}

impl Column {
    /// Shown only where there is room.
    pub(crate) const fn wide(mut self) -> Self {
        self.only_wide = true;
        self
    }

    /// Never broken over two lines: people compare it, or copy it.
    pub(crate) const fn whole(mut self) -> Self {
        self.whole = true;
        self
    }
}

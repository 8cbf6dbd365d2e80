//! White-box tests of the databases: what SQL may not do, and how many are open.

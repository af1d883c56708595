//! What is known of the server's and its contributed functions, by name.
//!
//! The classes group what policies want to name at once (`class:ReadsFiles`). A name says
//! nothing of who defined the function: a `Pure` name in a schema other than `pg_catalog`
//! proves nothing, while the other classes hold for any schema, since guessing wrong there
//! only refuses more.

use FunctionClass as Class;

/// A group of functions that policies name as `class:NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionClass {
    /// Depends on its arguments, clocks, randomness and session facts alone.
    Pure,
    /// Runs SQL given as text or reads relations given by name.
    ExecutesSql,
    /// Reads, writes or lists files of the server.
    ReadsFiles,
    /// Reads or writes large objects.
    LargeObject,
    /// Reaches other servers.
    Network,
    /// Reads pages, WAL, replication streams or their slots.
    Wal,
    /// Acts on the server or on other sessions, which see it.
    Admin,
    /// Changes settings.
    Settings,
    /// Sends notifications.
    Notify,
    /// Reads or moves sequences.
    Sequence,
    /// Returns definitions from the catalog.
    CatalogText,
}

impl FunctionClass {
    /// The name that policies use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pure => "Pure",
            Self::ExecutesSql => "ExecutesSql",
            Self::ReadsFiles => "ReadsFiles",
            Self::LargeObject => "LargeObject",
            Self::Network => "Network",
            Self::Wal => "Wal",
            Self::Admin => "Admin",
            Self::Settings => "Settings",
            Self::Notify => "Notify",
            Self::Sequence => "Sequence",
            Self::CatalogText => "CatalogText",
        }
    }

    /// All classes.
    pub const ALL: [Self; 11] = [
        Self::Pure,
        Self::ExecutesSql,
        Self::ReadsFiles,
        Self::LargeObject,
        Self::Network,
        Self::Wal,
        Self::Admin,
        Self::Settings,
        Self::Notify,
        Self::Sequence,
        Self::CatalogText,
    ];
}

/// Families of names, by what they begin with; the first that fits counts.
const PREFIXES: &[(&str, Class)] = &[
    ("query_to_", Class::ExecutesSql),
    ("table_to_xml", Class::ExecutesSql),
    ("cursor_to_xml", Class::ExecutesSql),
    ("schema_to_xml", Class::ExecutesSql),
    ("database_to_xml", Class::ExecutesSql),
    ("crosstab", Class::ExecutesSql),
    ("connectby", Class::ExecutesSql),
    ("lo_import", Class::ReadsFiles),
    ("lo_export", Class::ReadsFiles),
    ("lo_", Class::LargeObject),
    ("be_lo_", Class::LargeObject),
    ("dblink", Class::Network),
    ("postgres_fdw_", Class::Network),
    ("pg_read_", Class::ReadsFiles),
    ("pg_ls_", Class::ReadsFiles),
    ("pg_file_", Class::ReadsFiles),
    ("pg_stat_file", Class::ReadsFiles),
    ("pg_logdir_", Class::ReadsFiles),
    ("file_fdw_", Class::ReadsFiles),
    ("pg_logical_", Class::Wal),
    ("pg_replication_", Class::Wal),
    ("pg_create_logical_", Class::Wal),
    ("pg_create_physical_", Class::Wal),
    ("pg_copy_logical_", Class::Wal),
    ("pg_copy_physical_", Class::Wal),
    ("pg_drop_replication_", Class::Wal),
    ("pg_get_replication_", Class::Wal),
    ("pg_sync_replication_", Class::Wal),
    ("pg_show_replication_", Class::Wal),
    ("pg_get_wal_", Class::Wal),
    ("pg_wal", Class::Wal),
    ("pg_waldump", Class::Wal),
    ("heap_page_", Class::Wal),
    ("heap_tuple_", Class::Wal),
    ("bt_", Class::Wal),
    ("brin_page", Class::Wal),
    ("brin_metapage", Class::Wal),
    ("brin_revmap", Class::Wal),
    ("gin_page", Class::Wal),
    ("gin_metapage", Class::Wal),
    ("gin_leafpage", Class::Wal),
    ("gist_page", Class::Wal),
    ("hash_page", Class::Wal),
    ("hash_metapage", Class::Wal),
    ("hash_bitmap", Class::Wal),
    ("get_raw_page", Class::Wal),
    ("pg_stat_reset", Class::Admin),
    ("pg_backup_", Class::Admin),
    ("pg_promote", Class::Admin),
    ("pg_reload_", Class::Admin),
    ("pg_rotate_", Class::Admin),
    ("pg_switch_", Class::Admin),
    ("pg_import_system_", Class::Admin),
    ("pg_restore_", Class::Admin),
    ("pg_clear_", Class::Admin),
    ("pg_wal_replay_", Class::Admin),
    ("pg_advisory_", Class::Admin),
    ("pg_try_advisory_", Class::Admin),
    ("pg_buffercache_evict", Class::Admin),
    ("binary_upgrade_", Class::Admin),
    ("heap_force_", Class::Admin),
];

/// Single names, sorted.
const NAMES: &[(&str, Class)] = &[
    ("brin_summarize_new_values", Class::Admin),
    ("col_description", Class::CatalogText),
    ("currval", Class::Sequence),
    ("fsm_page_contents", Class::Wal),
    ("lastval", Class::Sequence),
    ("loread", Class::LargeObject),
    ("lowrite", Class::LargeObject),
    ("nextval", Class::Sequence),
    ("obj_description", Class::CatalogText),
    ("page_checksum", Class::Wal),
    ("page_header", Class::Wal),
    ("pg_cancel_backend", Class::Admin),
    ("pg_config", Class::CatalogText),
    ("pg_create_restore_point", Class::Admin),
    ("pg_current_logfile", Class::ReadsFiles),
    ("pg_describe_object", Class::CatalogText),
    ("pg_extension_config_dump", Class::Admin),
    ("pg_get_constraintdef", Class::CatalogText),
    ("pg_get_expr", Class::CatalogText),
    ("pg_get_function_arguments", Class::CatalogText),
    ("pg_get_function_sqlbody", Class::CatalogText),
    ("pg_get_functiondef", Class::CatalogText),
    ("pg_get_indexdef", Class::CatalogText),
    ("pg_get_partition_constraintdef", Class::CatalogText),
    ("pg_get_partkeydef", Class::CatalogText),
    ("pg_get_ruledef", Class::CatalogText),
    ("pg_get_statisticsobjdef", Class::CatalogText),
    ("pg_get_statisticsobjdef_expressions", Class::CatalogText),
    ("pg_get_triggerdef", Class::CatalogText),
    ("pg_get_viewdef", Class::CatalogText),
    ("pg_get_wal_replay_pause_state", Class::CatalogText),
    ("pg_hba_file_rules", Class::ReadsFiles),
    ("pg_ident_file_mappings", Class::ReadsFiles),
    ("pg_log_backend_memory_contexts", Class::Admin),
    ("pg_log_standby_snapshot", Class::Admin),
    ("pg_mcv_list_items", Class::CatalogText),
    ("pg_notify", Class::Notify),
    ("pg_notification_queue_usage", Class::CatalogText),
    ("pg_prewarm", Class::Admin),
    ("pg_sequence_last_value", Class::Sequence),
    ("pg_show_all_file_settings", Class::ReadsFiles),
    ("pg_show_all_settings", Class::CatalogText),
    ("pg_start_backup", Class::Admin),
    ("pg_stat_get_activity", Class::CatalogText),
    ("pg_stat_statements", Class::CatalogText),
    ("pg_stat_statements_reset", Class::Admin),
    ("pg_stop_backup", Class::Admin),
    ("pg_terminate_backend", Class::Admin),
    ("pg_truncate_visibility_map", Class::Admin),
    ("pg_wal_lsn_diff", Class::Pure),
    ("pg_walfile_name", Class::Pure),
    ("pg_walfile_name_offset", Class::Pure),
    ("set_config", Class::Settings),
    ("set_limit", Class::Settings),
    ("setseed", Class::Settings),
    ("setval", Class::Sequence),
    ("shobj_description", Class::CatalogText),
    ("ts_rewrite", Class::ExecutesSql),
    ("ts_stat", Class::ExecutesSql),
    ("tuple_data_split", Class::Wal),
    ("xpath_table", Class::ExecutesSql),
];

/// Functions of `pg_catalog` that return nothing but a function of their arguments, of clocks
/// and of randomness. Names of special syntax are included.
const PURE: &str = include_str!("builtin/pure.txt");

/// The class of a function by its unqualified name, `None` where it is not known.
pub fn class(name: &str) -> Option<FunctionClass> {
    if let Some((_, class)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*class);
    }
    if is_pure(name) {
        return Some(Class::Pure);
    }
    PREFIXES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map(|(_, class)| *class)
}

fn is_pure(name: &str) -> bool {
    static NAMES: std::sync::OnceLock<std::collections::HashSet<&'static str>> =
        std::sync::OnceLock::new();
    NAMES
        .get_or_init(|| PURE.split_ascii_whitespace().collect())
        .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_functions_by_name_and_by_family() {
        let cases = [
            ("query_to_xml_and_xmlschema", Some(Class::ExecutesSql)),
            ("crosstab4", Some(Class::ExecutesSql)),
            ("pg_read_binary_file", Some(Class::ReadsFiles)),
            ("pg_ls_waldir", Some(Class::ReadsFiles)),
            ("lo_export", Some(Class::ReadsFiles)),
            ("lo_get", Some(Class::LargeObject)),
            ("dblink_exec", Some(Class::Network)),
            ("pg_logical_slot_get_changes", Some(Class::Wal)),
            ("heap_page_items", Some(Class::Wal)),
            ("pg_terminate_backend", Some(Class::Admin)),
            ("set_config", Some(Class::Settings)),
            ("pg_notify", Some(Class::Notify)),
            ("nextval", Some(Class::Sequence)),
            ("pg_get_viewdef", Some(Class::CatalogText)),
            ("lower", Some(Class::Pure)),
            ("pg_wal_lsn_diff", Some(Class::Pure)),
            ("pg_walinspect", Some(Class::Wal)),
            ("now", Some(Class::Pure)),
            ("lookup_ref", None),
            ("current_setting", None),
        ];
        for (name, expected) in cases {
            assert_eq!(class(name), expected, "{name}");
        }
    }

    #[test]
    fn no_pure_name_belongs_to_another_family() {
        for name in PURE.split_ascii_whitespace() {
            let family = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
            assert_eq!(family, None, "{name}");
        }
    }
}

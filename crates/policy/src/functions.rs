//! Classes of functions, so that a rule can say `class:ServerFile` instead of twenty names.
//!
//! A class is a list of names and globs in any schema: these functions are dangerous whoever owns
//! them, and a harmless namesake is a small price. Data only. The lists cover PostgreSQL 13 to 18
//! and the extensions of its contrib directory.

/// A class of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FunctionClass {
    /// Read, write or list files on the server.
    ServerFile,
    /// Read, write, import or export large objects.
    LargeObject,
    /// Open connections from the server to elsewhere.
    Foreign,
    /// Logical decoding, slots, origins, WAL positions.
    Replication,
    /// Read pages, tuples, WAL or memory as they are.
    PageInspect,
    /// Run SQL that is given to them as text.
    DynamicSql,
    /// Read statements or plans of others, or statistics that contain values.
    Statistics,
    /// Steer the server: reload, rotate logs, switch WAL, promote, kill sessions.
    ServerControl,
    /// Change a setting.
    Settings,
    /// Aggregates that put many rows into one value.
    Collecting,
    /// Decode or show stored definitions and defaults, which may hold literals.
    Definitions,
}

impl FunctionClass {
    /// Every class.
    pub const ALL: &'static [FunctionClass] = &[
        FunctionClass::ServerFile,
        FunctionClass::LargeObject,
        FunctionClass::Foreign,
        FunctionClass::Replication,
        FunctionClass::PageInspect,
        FunctionClass::DynamicSql,
        FunctionClass::Statistics,
        FunctionClass::ServerControl,
        FunctionClass::Settings,
        FunctionClass::Collecting,
        FunctionClass::Definitions,
    ];

    /// The name as policies write it after `class:`.
    pub const fn name(self) -> &'static str {
        match self {
            FunctionClass::ServerFile => "ServerFile",
            FunctionClass::LargeObject => "LargeObject",
            FunctionClass::Foreign => "Foreign",
            FunctionClass::Replication => "Replication",
            FunctionClass::PageInspect => "PageInspect",
            FunctionClass::DynamicSql => "DynamicSql",
            FunctionClass::Statistics => "Statistics",
            FunctionClass::ServerControl => "ServerControl",
            FunctionClass::Settings => "Settings",
            FunctionClass::Collecting => "Collecting",
            FunctionClass::Definitions => "Definitions",
        }
    }

    /// The class with this name, exactly as written.
    pub fn parse(name: &str) -> Option<FunctionClass> {
        FunctionClass::ALL
            .iter()
            .copied()
            .find(|class| class.name() == name)
    }

    /// Its members, as names and globs.
    pub const fn members(self) -> &'static [&'static str] {
        match self {
            FunctionClass::ServerFile => &[
                "pg_read_file",
                "pg_read_binary_file",
                "pg_read_file_old",
                "pg_stat_file",
                "pg_file_*",
                "pg_logdir_ls",
                "pg_ls_*",
                "pg_current_logfile",
                "pg_hba_file_rules",
                "pg_ident_file_mappings",
                "pg_show_all_file_settings",
                "xslt_process",
            ],
            FunctionClass::LargeObject => &["lo_*", "loread", "lowrite"],
            FunctionClass::Foreign => &["dblink", "dblink_*", "postgres_fdw_*", "file_fdw_*"],
            FunctionClass::Replication => &[
                "pg_logical_*",
                "pg_create_logical_replication_slot",
                "pg_create_physical_replication_slot",
                "pg_copy_*_replication_slot",
                "pg_drop_replication_slot",
                "pg_replication_*",
                "pg_sync_replication_slots",
                "pg_get_publication_tables",
            ],
            FunctionClass::PageInspect => &[
                "get_raw_page",
                "heap_page_*",
                "heap_tuple_*",
                "tuple_data_split",
                "page_header",
                "page_checksum",
                "fsm_page_contents",
                "bt_*",
                "brin_*",
                "gin_page_*",
                "gin_leafpage_items",
                "gin_metapage_info",
                "gist_page_*",
                "hash_page_*",
                "hash_bitmap_info",
                "hash_metapage_info",
                "pg_get_wal_*",
                "pg_visibility*",
                "pg_check_visible",
                "pg_check_frozen",
                "pgstattuple*",
                "pgrowlocks",
                "pg_buffercache*",
                "pg_walfile_*",
                "pg_wal_summary*",
            ],
            FunctionClass::DynamicSql => &[
                "query_to_xml*",
                "table_to_xml*",
                "cursor_to_xml*",
                "schema_to_xml*",
                "database_to_xml*",
                "ts_stat",
                "ts_rewrite",
                "crosstab*",
                "connectby",
                "xpath_table",
                "xpath_table_*",
                "plpgsql_check_*",
                "pg_prepared_statement",
            ],
            FunctionClass::Statistics => &[
                "pg_stat_statements*",
                "pg_stat_get_backend_activity",
                "pg_stat_get_activity",
                "pg_mcv_list_items",
                "pg_stats_ext_*",
                "pg_statistic_*",
            ],
            FunctionClass::ServerControl => &[
                "pg_reload_conf",
                "pg_rotate_logfile*",
                "pg_switch_wal",
                "pg_create_restore_point",
                "pg_backup_start",
                "pg_backup_stop",
                "pg_start_backup",
                "pg_stop_backup",
                "pg_promote",
                "pg_terminate_backend",
                "pg_cancel_backend",
                "pg_wal_replay_*",
                "pg_log_backend_memory_contexts",
                "pg_log_standby_snapshot",
                "pg_stat_reset*",
                "pg_extension_config_dump",
                "pg_nextoid",
            ],
            FunctionClass::Settings => &["set_config"],
            FunctionClass::Collecting => &[
                "*_agg",
                "*_agg_*",
                "xmlagg",
                "percentile_*",
                "json_arrayagg",
                "json_objectagg",
                "*_to_xml",
                "*_to_xml_and_xmlschema",
            ],
            FunctionClass::Definitions => &[
                "pg_get_viewdef",
                "pg_get_ruledef",
                "pg_get_functiondef",
                "pg_get_expr",
            ],
        }
    }
}

"""HTTP without locks: problem documents, headers, ids, paging, query parameters."""

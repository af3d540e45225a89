const char *ggml_commit(void) { return GGML_COMMIT; }

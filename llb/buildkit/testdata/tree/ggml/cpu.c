const char *ggml_backend_mark(void) { return MARK; }

// Package mirror answers one question: what can other machines take from this store? It
// speaks the part of the Hugging Face Hub's API that reads models, so that llama.cpp,
// huggingface_hub and llorch-bk take them from here where HF_ENDPOINT says so. It changes
// nothing.
//
// The requests are those of huggingface_hub (hf_api.py, file_download.py) and of
// llama.cpp's -hf: refs, tree and resolve (common/hf-cache.cpp of v0.5.0), or in releases
// without that file a manifest and resolve (common/arg.cpp of b5415).
package mirror

package engine

// Stock lists what llorch-bk created on an engine besides its servers.
type Stock struct {
	Images  []StockImage
	Volumes []StockVolume
}

// StockImage is an image that llorch-bk built.
type StockImage struct {
	// ID is the engine's id of the image; Names may be empty.
	ID    string
	Names []string
	// Bytes is its size.
	Bytes int64
	// Containers is the number of containers that use it, running or not.
	Containers int
}

// StockVolume is a volume that shows a model's folder, or holds a copy of a model.
type StockVolume struct {
	Name string
	// Shows is the host's folder that it shows; empty for a copy.
	Shows string
	// Containers is the number of containers that mount it, running or not.
	Containers int
}

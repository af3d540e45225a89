package engine

// Stock is what llorch-bk has made on an engine beside its servers.
type Stock struct {
	Images  []StockImage
	Volumes []StockVolume
}

// StockImage is an image that llorch-bk built.
type StockImage struct {
	// ID is the engine's id of it, Names are its names; it may have none.
	ID    string
	Names []string
	// Bytes is what it takes.
	Bytes int64
	// Containers is how many containers are made of it, running or not.
	Containers int
}

// StockVolume is a volume through which a model is seen, or that holds a copy.
type StockVolume struct {
	Name string
	// Shows is the host's folder that it shows; empty for one that holds a copy.
	Shows string
	// Containers is how many containers have it mounted, running or not.
	Containers int
}

package model

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/caches"
)

// The public hubs.
const (
	// DefaultEndpoint is the public Hugging Face Hub.
	DefaultEndpoint = "https://huggingface.co"
	// DefaultModelScope is the public ModelScope.
	DefaultModelScope = "https://www.modelscope.cn"
)

// Environment is where models come from and go to on this machine. The variables behind it
// have the names that Hugging Face's own tools use.
type Environment struct {
	// Endpoint is the Hub's address, without a slash at its end.
	Endpoint string
	// Token is the Hub's access token, empty for none. It goes to Endpoint's scheme, host
	// and port, and nowhere else.
	Token string
	// ModelScope is the address of ModelScope, and ModelScopeToken its access token, as
	// Endpoint and Token are the Hub's.
	ModelScope, ModelScopeToken string
	// StoreDir is the folder of the model store; it may not exist yet.
	StoreDir string
	// HubCache is the cache of Hugging Face's tools and of llama.cpp's own -hf. Files that
	// are there are not downloaded again. Empty for none.
	HubCache string
	// Caches are other tools' folders of models, which are used as HubCache is.
	Caches []caches.Cache
	// Offline forbids every request.
	Offline bool
	// Update says what becomes of a model that is here while there may be a newer one.
	Update Update
	// Roots are the authorities that a server's certificate may come from; nil for the
	// system's and those in SSL_CERT_FILE.
	Roots *x509.CertPool
}

// String leaves the token out.
func (e Environment) String() string {
	return fmt.Sprintf("endpoint %s, store %s, token %t, offline %t", e.Endpoint, e.StoreDir, e.Token != "", e.Offline)
}

// GoString leaves the token out too.
func (e Environment) GoString() string { return "model.Environment(" + e.String() + ")" }

// FromEnv reads LLORCH_MODEL_DIR, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE and
// HF_HUB_CACHE, HF_HOME to find the token's file and that cache, MODELSCOPE_ENDPOINT,
// MODELSCOPE_API_TOKEN, and the variables of otherCaches. The error is a Usage fault that
// does not repeat a token.
func FromEnv(getenv func(string) string) (Environment, error) {
	e := Environment{Offline: truthy(getenv("HF_HUB_OFFLINE")) || truthy(getenv("TRANSFORMERS_OFFLINE"))}
	var err error
	if e.Endpoint, err = endpoint("HF_ENDPOINT", getenv("HF_ENDPOINT"), DefaultEndpoint); err != nil {
		return Environment{}, err
	}
	if e.Token, err = token(getenv); err != nil {
		return Environment{}, err
	}
	if e.ModelScope, err = endpoint("MODELSCOPE_ENDPOINT", getenv("MODELSCOPE_ENDPOINT"), DefaultModelScope); err != nil {
		return Environment{}, err
	}
	if e.ModelScopeToken, err = tokenIn("MODELSCOPE_API_TOKEN", getenv("MODELSCOPE_API_TOKEN")); err != nil {
		return Environment{}, err
	}
	e.StoreDir = expanded(getenv, getenv("LLORCH_MODEL_DIR"))
	if e.StoreDir == "" {
		data := under(getenv, "XDG_DATA_HOME", ".local/share")
		if data == "" {
			return Environment{}, fault.New(fault.Usage, "there is no place for the model store",
				errors.New("neither HOME nor XDG_DATA_HOME is set"), "set LLORCH_MODEL_DIR to a folder with room for models")
		}
		e.StoreDir = filepath.Join(data, "llorch-bk", "models")
	}
	e.HubCache, e.Caches = hubCache(getenv), otherCaches(getenv)
	if e.StoreDir, err = filepath.Abs(e.StoreDir); err != nil {
		return Environment{}, fmt.Errorf("model store's folder: %w", err)
	}
	return e, nil
}

// endpoint reads the variable that names a hub's address.
func endpoint(name, v, public string) (string, error) {
	if v == "" {
		return public, nil
	}
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fault.New(fault.Usage, name+" is not the address of a Hub", nil,
			"set it to something like "+public+", without user, query or fragment, or unset it")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// token finds the access token as Hugging Face's tools do: the variable first,
// then the file that their login command writes.
func token(getenv func(string) string) (string, error) {
	name, t := "HF_TOKEN", getenv("HF_TOKEN")
	if strings.TrimSpace(t) == "" {
		file, asked := expanded(getenv, getenv("HF_TOKEN_PATH")), true
		if file == "" {
			home := huggingFaceHome(getenv)
			if home == "" {
				return "", nil
			}
			file, asked = filepath.Join(home, "token"), false
		}
		b, err := os.ReadFile(file)
		if err != nil {
			// Nobody asked for the default file, so it may be missing. A file that exists
			// and cannot be read must not look like no token.
			if !asked && errors.Is(err, fs.ErrNotExist) {
				return "", nil
			}
			return "", fault.New(fault.Usage, "the Hub's token cannot be read", err,
				"make the file readable, point HF_TOKEN_PATH elsewhere, or set HF_TOKEN")
		}
		name, t = file, string(b)
	}
	return tokenIn(name, t)
}

// tokenIn is the token in a variable or a file, without the space around it.
func tokenIn(name, t string) (string, error) {
	t = strings.TrimSpace(t)
	if strings.ContainsFunc(t, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) {
		return "", fault.New(fault.Usage, "the token in "+name+" contains characters that no token has", nil,
			"copy it again from the Hub's settings")
	}
	return t, nil
}

// under is the folder that an XDG variable names, by default below HOME. It is empty where
// neither is set. The XDG specification ignores relative values.
func under(getenv func(string) string, xdg, def string) string {
	if d := getenv(xdg); filepath.IsAbs(d) {
		return d
	}
	if h := getenv("HOME"); h != "" {
		return filepath.Join(h, def)
	}
	return ""
}

func truthy(v string) bool {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "1", "on", "yes", "true":
		return true
	}
	return false
}

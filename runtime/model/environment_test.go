package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestFromEnv(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("hf_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	def := "/home/u/.local/share/llorch-bk/models"
	for name, c := range map[string]struct {
		env  map[string]string
		want Environment
	}{
		"nothing":             {map[string]string{}, Environment{Endpoint: DefaultEndpoint, StoreDir: def}},
		"endpoint":            {map[string]string{"HF_ENDPOINT": "http://127.0.0.1:1/"}, Environment{Endpoint: "http://127.0.0.1:1", StoreDir: def}},
		"token":               {map[string]string{"HF_TOKEN": " hf_x ", "HF_HOME": dir}, Environment{Endpoint: DefaultEndpoint, Token: "hf_x", StoreDir: def}},
		"token in home":       {map[string]string{"HF_HOME": dir}, Environment{Endpoint: DefaultEndpoint, Token: "hf_file", StoreDir: def}},
		"token path":          {map[string]string{"HF_TOKEN_PATH": dir + "/token"}, Environment{Endpoint: DefaultEndpoint, Token: "hf_file", StoreDir: def}},
		"offline":             {map[string]string{"HF_HUB_OFFLINE": "True"}, Environment{Endpoint: DefaultEndpoint, StoreDir: def, Offline: true}},
		"not offline":         {map[string]string{"HF_HUB_OFFLINE": "0"}, Environment{Endpoint: DefaultEndpoint, StoreDir: def}},
		"store":               {map[string]string{"LLORCH_MODEL_DIR": "/m"}, Environment{Endpoint: DefaultEndpoint, StoreDir: "/m"}},
		"data home":           {map[string]string{"XDG_DATA_HOME": "/d"}, Environment{Endpoint: DefaultEndpoint, StoreDir: "/d/llorch-bk/models"}},
		"bad data home":       {map[string]string{"XDG_DATA_HOME": "d"}, Environment{Endpoint: DefaultEndpoint, StoreDir: def}},
		"ModelScope":          {map[string]string{"MODELSCOPE_ENDPOINT": "http://127.0.0.1:2/", "MODELSCOPE_API_TOKEN": "ms_x "}, Environment{Endpoint: DefaultEndpoint, ModelScope: "http://127.0.0.1:2", ModelScopeToken: "ms_x", StoreDir: def}},
		"the Hub's cache":     {map[string]string{"HF_HUB_CACHE": "/c", "HF_HOME": "/hf"}, Environment{Endpoint: DefaultEndpoint, StoreDir: def, HubCache: "/c"}},
		"HF_HOME is no store": {map[string]string{"HF_HOME": "/hf"}, Environment{Endpoint: DefaultEndpoint, StoreDir: def}},
	} {
		got, err := FromEnv(func(k string) string {
			if v, ok := c.env[k]; ok || k != "HOME" {
				return v
			}
			return "/home/u"
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got.Caches = nil // TestOtherCaches has them
		if c.want.ModelScope == "" {
			c.want.ModelScope = DefaultModelScope
		}
		if c.want.HubCache == "" {
			c.want.HubCache = "/home/u/.cache/huggingface/hub"
			if home := c.env["HF_HOME"]; home != "" {
				c.want.HubCache = home + "/hub"
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestFromEnvRefuses(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]map[string]string{
		"endpoint without scheme": {"HOME": "/h", "HF_ENDPOINT": "huggingface.co"},
		"endpoint with password":  {"HOME": "/h", "HF_ENDPOINT": "https://u:geheim@h"},
		"ModelScope with a query": {"HOME": "/h", "MODELSCOPE_ENDPOINT": "https://h/?geheim"},
		"its token with a space":  {"HOME": "/h", "MODELSCOPE_API_TOKEN": "geheim x"},
		"token with a line break": {"HOME": "/h", "HF_TOKEN": "geheim\nX-Evil: 1"},
		"missing token file":      {"HOME": "/h", "HF_TOKEN_PATH": "/nonexistent/token"},
		"no home":                 {},
	} {
		_, err := FromEnv(func(k string) string { return env[k] })
		if err == nil {
			t.Errorf("%s was taken", name)
			continue
		}
		wantFault(t, err, fault.Usage)
		if strings.Contains(fault.Report(err), "geheim") {
			t.Errorf("%s: the fault repeats a secret", name)
		}
	}
}

func TestEnvironmentPrintsNoToken(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, Environment{Token: "geheim", ModelScopeToken: "geheim"}); strings.Contains(s, "geheim") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

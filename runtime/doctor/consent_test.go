package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestConsent(t *testing.T) {
	t.Parallel()
	auto := Step{ID: "a", What: "install it", Commands: []string{"apt-get install it"}, action: installPackages{}}
	manual := Step{ID: "m", What: "do that", Commands: []string{"that"}}
	optional := Step{ID: "o", What: "have more", Commands: []string{"more"}, Optional: true}
	answer := func(yes bool, err error) func(context.Context, []Step) (bool, error) {
		return func(_ context.Context, steps []Step) (bool, error) {
			for _, s := range steps {
				if s.Manual() {
					t.Errorf("asked about %s, which it cannot do", s.ID)
				}
			}
			return yes, err
		}
	}
	never := func(context.Context, []Step) (bool, error) { t.Error("asked"); return false, nil }
	broken := errors.New("terminal gone")
	for _, tc := range []struct {
		name    string
		consent Consent
		steps   []Step
		cause   error
		refused bool
	}{
		{name: "nothing to do", consent: Consent{Ask: never}},
		{name: "only manual steps", consent: Consent{Ask: never}, steps: []Step{manual, optional}},
		{name: "CI", consent: Consent{CI: true, Terminal: true, Ask: never}, steps: []Step{auto}},
		{name: "said beforehand", consent: Consent{Yes: true, Terminal: true, Ask: never}, steps: []Step{auto}},
		{name: "root without a terminal", consent: Consent{Root: true, Ask: never}, steps: []Step{auto}},
		{name: "root at a terminal says yes", consent: Consent{Root: true, Terminal: true, Ask: answer(true, nil)}, steps: []Step{auto, manual}},
		{name: "root at a terminal says no", consent: Consent{Root: true, Terminal: true, Ask: answer(false, nil)}, steps: []Step{auto}, cause: ErrDeclined, refused: true},
		{name: "a user says yes", consent: Consent{Terminal: true, Ask: answer(true, nil)}, steps: []Step{auto}},
		{name: "a user without a terminal", consent: Consent{Ask: never}, steps: []Step{auto, manual, optional}, refused: true},
		{name: "root at a terminal with nobody to ask", consent: Consent{Root: true, Terminal: true}, steps: []Step{auto}, refused: true},
		{name: "the question fails", consent: Consent{Terminal: true, Ask: answer(false, broken)}, steps: []Step{auto}, cause: broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.consent.Decide(t.Context(), tc.steps)
			if (err != nil) != (tc.refused || tc.cause != nil) || (tc.cause != nil && !errors.Is(err, tc.cause)) {
				t.Fatalf("got %v", err)
			}
			if !tc.refused {
				return
			}
			var f *fault.Fault
			if !errors.As(err, &f) || f.Class != fault.Machine {
				t.Fatalf("got %v, want a fault of the machine", err)
			}
			if !strings.Contains(f.Do, "apt-get install it") || strings.Contains(f.Do, "more") {
				t.Errorf("advice is %q", f.Do)
			}
		})
	}
}

func TestRefusalOfOptionalStepsIsNone(t *testing.T) {
	t.Parallel()
	if err := Refusal([]Step{{What: "have more", Optional: true}}, ErrDeclined); err != nil {
		t.Error(err)
	}
}

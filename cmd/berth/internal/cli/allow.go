package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
)

func (a *app) allow() *cobra.Command {
	return &cobra.Command{
		Use:   "allow [FILE|OBJECT…]",
		Short: "Consent to removals that wait",
		Long: `Consent to removals that wait. Without arguments: to all that vanished from the files. A file or an object (KIND/NAME or
KIND/NAMESPACE/NAME) consents to that alone, also when the file is still there and cannot be read.`,
		Example: "  berth allow\n  berth allow shop/web.yaml\n  berth allow Deployment/default/web",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args == nil {
				args = []string{}
			}
			data, err := daemon.Call(cmd.Context(), a.runDir, "POST", "/allow", args)
			if err != nil {
				return err
			}
			var gone []string
			if err := json.Unmarshal(data, &gone); err != nil {
				return fmt.Errorf("cannot read berth's answer: %w", err)
			}
			if len(gone) == 0 {
				fmt.Fprintln(a.out, "nothing waits")
			}
			for _, object := range gone {
				fmt.Fprintln(a.out, "removes", safe(object))
			}
			return nil
		},
	}
}

import type { MailMessages } from "./en.ts";

export const ja: MailMessages = {
  verify: {
    subject: "メールアドレスの確認",
    text: "ご自分のメールアドレスであることを確認してください。",
    button: "アドレスを確認する",
    ignore: "心当たりがない場合は、このメールを無視してください。",
  },
  reset: {
    subject: "パスワードの再設定",
    text: "アカウントの新しいパスワードが要求されました。以下から設定してください。",
    button: "新しいパスワードを設定",
    ignore: "心当たりがない場合は、このメールを無視してください。パスワードは変更されません。",
  },
  until: (time) => `リンクは ${time} まで、1回だけ使用できます。`,
  passwordChanged: {
    subject: "パスワードが変更されました",
    CHANGED: "アカウントのパスワードが変更されました。",
    RESET: "メールのリンクからアカウントのパスワードが設定されました。",
    SET_BY_OPERATOR: "管理者がアカウントのパスワードを設定しました。",
  },
  deleted: {
    subject: "アカウントが削除されました",
    text: "アカウントと保存されていた情報はすべて消去されました。",
  },
  security: {
    NEW_DEVICE: { subject: "新しいログイン", text: "アカウントが初めてのブラウザーで使用されました。" },
    FACTOR_ADDED: { subject: "ログイン方法が追加されました", text: "アカウントにログイン方法が追加されました。" },
    FACTOR_REMOVED: {
      subject: "ログイン方法が削除されました",
      text: "アカウントからログイン方法が削除されました。",
    },
    FACTORS_RESET: {
      subject: "ログイン方法がリセットされました",
      text: "アカウントの追加のログイン方法がすべて削除されました。",
    },
    RECOVERY_CODES_MADE: {
      subject: "リカバリーコードが作成されました",
      text: "アカウントの新しいリカバリーコードが作成されました。以前のコードは使えません。",
    },
    RECOVERY_CODE_USED: {
      subject: "リカバリーコードが使用されました",
      text: "アカウントのリカバリーコードが使用されました。",
    },
    EMAIL_CHANGED: {
      subject: "メールアドレスが変更されました",
      text: "アカウントのメールアドレスが変更されました。このアドレスには今後メールを送信しません。",
    },
    DELETION_REQUESTED: {
      subject: "アカウントは削除されます",
      text: "アカウントは閉鎖され、消去されます。残すには、それまでにログインしてください。",
    },
    DELETION_CANCELLED: { subject: "アカウントを再開しました", text: "アカウントは消去されません。" },
    OTHER: { subject: "アカウントのセキュリティ通知", text: "アカウントのセキュリティ設定が変更されました。" },
  },
  facts: { time: "日時", browser: "ブラウザー", address: "IP アドレス", detail: "詳細", erased: "消去される日時" },
  browserOn: (browser, system) => `${browser}（${system}）`,
  notYou: "心当たりがない場合は、すぐにパスワードを変更し、すべての場所からログアウトしてください。",
  notYourPassword:
    "心当たりがない場合は、すぐにメールのリンクから新しいパスワードを設定してください。すべての場所からログアウトされます。",
  notYourAddress: "心当たりがない場合は、すぐにそのアドレスとご自身のパスワードでログインし、両方を変更してください。",
  notYourFactor: "心当たりがない場合は、すぐにセキュリティのページで削除し、パスワードを変更してください。",
  notYourCodes:
    "心当たりがない場合は、すぐにセキュリティのページで新しいコードを作成し、パスワードを変更してください。",
  openSecurity: "セキュリティのページを開く",
  factors: { passkey: "パスキー", totp: "認証アプリ" },
  openAccount: "アカウントを開く",
  footer: (host) => `このメールは ${host} のアカウントに関するお知らせです。`,
};

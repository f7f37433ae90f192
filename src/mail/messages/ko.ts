import type { MailMessages } from "./en.ts";

export const ko: MailMessages = {
  verify: {
    subject: "이메일 주소를 확인해 주세요",
    text: "본인의 이메일 주소인지 확인해 주세요.",
    button: "주소 확인",
    ignore: "직접 요청하지 않으셨다면 이 메일을 무시하세요.",
  },
  reset: {
    subject: "비밀번호 재설정",
    text: "계정의 새 비밀번호 요청을 받았습니다. 아래에서 설정하세요.",
    button: "새 비밀번호 설정",
    ignore: "직접 요청하지 않으셨다면 이 메일을 무시하세요. 비밀번호는 그대로 유지됩니다.",
  },
  until: (time) => `링크는 ${time}까지 한 번만 사용할 수 있습니다.`,
  passwordChanged: {
    subject: "비밀번호가 변경되었습니다",
    CHANGED: "계정의 비밀번호가 변경되었습니다.",
    RESET: "메일 링크를 통해 계정의 비밀번호가 설정되었습니다.",
    SET_BY_OPERATOR: "관리자가 계정의 비밀번호를 설정했습니다.",
  },
  deleted: { subject: "계정이 삭제되었습니다", text: "계정과 저장된 정보가 모두 삭제되었습니다." },
  security: {
    NEW_DEVICE: { subject: "새로운 로그인", text: "처음 보는 브라우저에서 계정에 로그인했습니다." },
    FACTOR_ADDED: { subject: "로그인 방법이 추가되었습니다", text: "계정에 로그인 방법이 추가되었습니다." },
    FACTOR_REMOVED: { subject: "로그인 방법이 삭제되었습니다", text: "계정에서 로그인 방법이 삭제되었습니다." },
    FACTORS_RESET: {
      subject: "로그인 방법이 초기화되었습니다",
      text: "계정의 추가 로그인 방법이 모두 삭제되었습니다.",
    },
    RECOVERY_CODES_MADE: {
      subject: "복구 코드가 만들어졌습니다",
      text: "계정의 새 복구 코드가 만들어졌습니다. 이전 코드는 더 이상 사용할 수 없습니다.",
    },
    RECOVERY_CODE_USED: { subject: "복구 코드가 사용되었습니다", text: "계정의 복구 코드가 사용되었습니다." },
    EMAIL_CHANGED: {
      subject: "이메일 주소가 변경되었습니다",
      text: "계정의 이메일 주소가 변경되었습니다. 앞으로 이 주소로는 메일을 보내지 않습니다.",
    },
    DELETION_REQUESTED: {
      subject: "계정이 삭제될 예정입니다",
      text: "계정이 닫혔으며 곧 삭제됩니다. 계정을 유지하려면 그 전에 로그인하세요.",
    },
    DELETION_CANCELLED: { subject: "계정이 다시 열렸습니다", text: "계정은 삭제되지 않습니다." },
    OTHER: { subject: "계정 보안 알림", text: "계정의 보안 설정이 변경되었습니다." },
  },
  facts: { time: "시간", browser: "브라우저", address: "IP 주소", detail: "내용", erased: "삭제 예정 시각" },
  browserOn: (browser, system) => `${system}의 ${browser}`,
  notYou: "본인이 아니라면 즉시 비밀번호를 변경하고 모든 곳에서 로그아웃하세요.",
  notYourPassword: "본인이 아니라면 즉시 메일로 받은 링크로 새 비밀번호를 설정하세요. 모든 곳에서 로그아웃됩니다.",
  notYourAddress: "본인이 아니라면 즉시 그 주소와 본인의 비밀번호로 로그인한 뒤 둘 다 변경하세요.",
  notYourFactor: "본인이 아니라면 보안 페이지에서 즉시 삭제한 뒤 비밀번호를 변경하세요.",
  notYourCodes: "본인이 아니라면 바로 보안 페이지에서 새 코드를 만들고 비밀번호를 변경하세요.",
  openSecurity: "보안 페이지 열기",
  factors: { passkey: "패스키", totp: "인증 앱" },
  openAccount: "내 계정 열기",
  footer: (host) => `${host} 계정과 관련하여 보내 드리는 메일입니다.`,
};

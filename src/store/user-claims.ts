/** Which scope releases which claims (OpenID Connect Core section 5.4); `nickname` and `roles` are in access tokens too. */
export const CLAIMS_BY_SCOPE = {
  profile: [
    "name",
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
    "roles",
  ],
  email: ["email", "email_verified"],
  address: ["address"],
  phone: ["phone_number", "phone_number_verified"],
} as const;

export const USER_CLAIMS = Object.values(CLAIMS_BY_SCOPE).flat();
export type UserClaim = (typeof USER_CLAIMS)[number];
